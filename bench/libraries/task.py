"""What every library has to do: the same model, size, steps, guidance, threads and seeds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

PROMPT = "a serene mountain lake at sunset"
SEEDS = 16  # with prepared noise; larger seeds start again


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement of a side: `folders` has the model in each library's format, by name.

    `images` are made one at a time after the first one, and `callers` are numbers of callers that each ask for
    `each` images at once. `noise` is a file with the noise of each seed, [seeds, c, h, w] float32, which is the same
    that torch draws.
    """

    model: str
    folders: dict[str, str]
    noise: str
    size: int
    steps: int
    guidance: float
    threads: int
    images: int = 2
    callers: tuple[int, ...] = ()
    each: int = 4
    prompt: str = PROMPT
    cache: str = ""
    native: bool = field(default=False)  # tintype's built-in model, loaded without a folder

    def to_json(self) -> str:
        """Return the task as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Return the task of `to_json`."""
        values = json.loads(text)
        return cls(**values | {"callers": tuple(values["callers"])})

    def folder(self, name: str) -> Path:
        """Return the model's folder or file in one format."""
        return Path(self.folders[name])
