"""A job: one request, validated and frozen, in the words of the house and free of any transport.

What can be judged without knowing the model is judged here, at construction; the rest when the engine plans it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import isfinite
from typing import TYPE_CHECKING

from .errors import InvalidField

if TYPE_CHECKING:
    from .images.source import Source
    from .models.text.prompt_editing import Items

MAX_PROMPT = 32_000
MAX_COUNT = 10
MAX_SEED = 2**63 - 1
MAX_NAME = 256
# Characters, judged before a text is read: names are looked up, and repeated in errors.
LENGTHS = {"prompt": MAX_PROMPT, "negative_prompt": MAX_PROMPT} | dict.fromkeys(
    ("model", "sampler", "schedule", "quality", "style"), MAX_NAME
)
MIME_TYPES = ("image/png", "image/jpeg", "image/webp")

# field: (lowest, highest), both allowed. None in a job means "the model's own" and is always allowed.
RANGES: dict[str, tuple[float, float]] = {
    "count": (1, MAX_COUNT),
    "width": (16, 4096),
    "height": (16, 4096),
    "steps": (1, 150),
    "guidance_scale": (0, 50),
    "guidance_rescale": (0, 1),
    "eta": (0, 1),
    "seed": (0, MAX_SEED),
    "strength": (0, 1),
    "priority": (-100, 100),
    "earlier_steps": (0, 150),
}


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not isfinite(value) or not low <= value <= high:
        raise InvalidField(
            name, f"must be {low} to {high}, not {value if isinstance(value, int) else format(value, 'g')}"
        )


def _check_mime_type(name: str, value: str) -> None:
    if value not in MIME_TYPES:
        raise InvalidField(name, f"must be one of {', '.join(MIME_TYPES)}, not {value!r}")


@dataclass(frozen=True, slots=True)
class Output:
    """How pictures are encoded; `quality` 0 to 100 counts for JPEG and WebP."""

    mime_type: str = "image/png"
    quality: int = 95
    metadata: bool = True
    alpha: bool = False

    def __post_init__(self) -> None:
        _check_mime_type("output.mime_type", self.mime_type)
        _check_range("output.quality", self.quality, 0, 100)


@dataclass(frozen=True, slots=True)
class Previews:
    """Which previews to send: `count` spread evenly over the steps, or one after `every` so many steps."""

    count: int = 0
    every: int = 0
    mime_type: str = "image/jpeg"

    def __post_init__(self) -> None:
        _check_range("previews.count", self.count, 0, 64)
        _check_range("previews.every", self.every, 0, 150)
        _check_mime_type("previews.mime_type", self.mime_type)
        if self.count and self.every:
            raise InvalidField("previews", "takes count or every, not both")

    def due(self, step: int, steps: int) -> bool:
        """Whether a preview is sent after step `step` (from 1) of `steps`; never after the last, which is the image."""
        if step >= steps:
            return False
        if self.every:
            return step % self.every == 0
        return step * (self.count + 1) // steps > (step - 1) * (self.count + 1) // steps


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter's name and its weight, -4 to 4."""

    name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_range("loras.weight", self.weight, -4, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to draw, and how. None means the model's own default. Times are seconds, sizes pixels.

    `deadline` is a point of `time.monotonic`; `caller` is whom the engine is fair to. `image` and `mask` are files;
    `source` is what `prepare` makes of them for the engine, and `prompts` what it makes of both prompts if they are
    weighted.
    Raises InvalidField, with the contract's name of the field.
    """

    prompt: str
    negative_prompt: str = ""
    model: str = ""
    count: int = 1
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    sampler: str = ""
    schedule: str = ""
    eta: float | None = None
    seed: int | None = None
    image: bytes = field(default=b"", repr=False)
    mask: bytes = field(default=b"", repr=False)
    strength: float | None = None
    source: Source | None = field(default=None, repr=False)
    loras: tuple[Lora, ...] = ()
    embeddings: tuple[str, ...] = ()
    prompt_weighting: bool = False
    earlier_steps: int = 0
    prompts: tuple[Items, Items] | None = field(default=None, repr=False)
    allow_empty_prompt: bool = False
    quality: str = ""
    style: str = ""
    output: Output = Output()
    previews: Previews = Previews()
    priority: int = 0
    caller: str = ""
    deadline: float | None = None

    def __post_init__(self) -> None:
        for name, most in LENGTHS.items():
            if len(getattr(self, name)) > most:
                raise InvalidField(name, f"must be at most {most} characters, not {len(getattr(self, name))}")
        if not self.prompt.strip() and not self.allow_empty_prompt:
            raise InvalidField("prompt", "must not be empty")
        for f in fields(self):
            if f.name in RANGES and getattr(self, f.name) is not None:
                _check_range(f.name, getattr(self, f.name), *RANGES[f.name])
        for name in ("mask", "strength"):
            if getattr(self, name) not in (None, b"") and not (self.image or self.source):
                raise InvalidField(name, f"needs image: give the picture that it is for, or leave {name} out")
