"""Events of a task, in the order in which they occur.

    (Queued | Loading)*  (Progress | Preview | Finished)*  Completed      success
    ... Failed                                                            failure

Every task ends with exactly one Completed or Failed, and no event follows. A cancelled task ends with
Failed(Cancelled).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from ..errors import TintypeError
    from ..images.pixels import Pixels
    from .plan import Plan


STAGES = ("queue", "load", "encode", "denoise", "decode")


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent in the queue, in the encoders, in denoiser calls and in the decoder."""

    queue: float = 0.0
    encode: float = 0.0
    denoise: float = 0.0
    decode: float = 0.0


class Stage(NamedTuple):
    """When a task was in a stage: from `began` to `ended`, of the engine's clock, of which the device worked `busy`."""

    name: str
    began: float
    ended: float
    busy: float


@dataclass(frozen=True, slots=True)
class Queued:
    """The task waits behind `position` others; `eta` is seconds to its start, None while unknown."""

    position: int
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Loading:
    """The task's model is loading; `fraction` 0 to 1 is loaded."""

    model: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Image `index` has finished `step` of `steps` denoiser calls; `eta` is seconds to the end of the task."""

    index: int
    step: int
    steps: int
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """Preview of image `index` after `step` steps: pixels [3, h, w], float32 in 0..1, at latent resolution."""

    index: int
    step: int
    number: int
    pixels: Pixels = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finished:
    """Image `index` is done: pixels [3, h, w], float32 in 0..1 or levels, in the size that `plan` renders."""

    index: int
    seed: int
    pixels: Pixels = field(repr=False)
    timings: Timings
    plan: Plan = field(repr=False)
    revised_prompt: str = ""


@dataclass(frozen=True, slots=True)
class Completed:
    """All images are done: their number, denoiser calls of all images, and tokens of both prompts.

    `stages` are those of STAGES that the task had.
    """

    model: str
    images: int
    steps: int
    prompt_tokens: int
    timings: Timings
    stages: tuple[Stage, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """The task ended before all images were done. `stages` as in Completed."""

    error: TintypeError
    stages: tuple[Stage, ...] = field(default=(), repr=False, compare=False)


Event: TypeAlias = Queued | Loading | Progress | Preview | Finished | Completed | Failed
