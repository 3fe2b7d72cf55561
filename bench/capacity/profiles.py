"""Service times of one node and of a gateway, from a file of measurements or assumed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from tintype.service.engine.batch_width import TRIES, WIDTHS, BatchWidths

if TYPE_CHECKING:
    from pathlib import Path

BATCH_KEY = ("model", (4, 32, 32), ())  # all simulated models have the same times


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Service times in seconds.

    Attributes:
        source: where the times come from: a machine and a date, or that they are assumed.
        calls: seconds of one denoiser call, by number of rows.
        encode, decode: seconds for the prompts of a request, and for one image.
        load: seconds to load a model.
        gateway: seconds of a gateway's processor per request.
        guided: whether an image has two rows in each call.
        notes: how the times were measured.
        assumed: whether they are not measured.
    """

    source: str
    calls: dict[int, float]
    encode: float
    decode: float
    load: float
    gateway: float
    guided: bool = True
    notes: str = ""
    assumed: bool = False

    def __post_init__(self) -> None:
        for name in ("encode", "decode", "load", "gateway"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more seconds; got {getattr(self, name)}")
        if 1 not in self.calls or min(self.calls.values()) <= 0:
            raise ValueError(f"calls must have seconds above 0 for 1 row; got {self.calls}")

    @property
    def rows(self) -> int:
        """Number of rows of one image in a call."""
        return 2 if self.guided else 1

    def call(self, rows: int, width: int) -> float:
        """Return the seconds of evaluating `rows` rows in calls of `width` rows."""
        full, rest = divmod(rows, width)
        return full * self._one_call(width) + (self._one_call(rest) if rest else 0.0)

    def image(self, steps: float, *, most: bool = False) -> float:
        """Return the device's seconds for one image alone; with `most` per image of the largest useful batch."""
        widths = judged_widths(self)
        images = max(widths.limit(BATCH_KEY).model_rows // self.rows, 1) if most else 1
        rows = images * self.rows
        call = self.call(rows, widths.choose(BATCH_KEY, rows)) / images
        return self.encode + steps * call + self.decode

    def _one_call(self, rows: int) -> float:
        """Return the seconds of a call; between two measured numbers of rows, on the line between them."""
        if rows in self.calls:
            return self.calls[rows]
        below = max((n for n in self.calls if n < rows), default=0)
        above = min((n for n in self.calls if n > rows), default=0)
        if not above:
            return self.calls[below] * rows / below
        share = (rows - below) / (above - below)
        return self.calls[below] * (1 - share) + self.calls[above] * share


def judged_widths(profile: Profile) -> BatchWidths:
    """Return the engine's batch widths after calls of every width, as on a node that has run for a while."""
    widths = BatchWidths()
    for width in WIDTHS:
        for _ in range(TRIES + 1):
            widths.record(BATCH_KEY, width, width, profile.call(width, width))
    return widths


def scaled(profile: Profile, factor: float) -> Profile:
    """Return the profile with `factor` times the device's seconds."""
    calls = {rows: seconds * factor for rows, seconds in profile.calls.items()}
    return replace(profile, calls=calls, encode=profile.encode * factor, decode=profile.decode * factor)


def read_profile(path: Path) -> Profile:
    """Return the profile in a file. Raises ValueError."""
    values = json.loads(path.read_text("utf-8"))
    values["calls"] = {int(rows): seconds for rows, seconds in values["calls"].items()}
    return Profile(**values)


def write_profile(profile: Profile, path: Path) -> None:
    """Write a profile as JSON."""
    path.write_text(json.dumps(asdict(profile), indent=2) + "\n", "utf-8")
