"""What the engine tells of a job, in the order in which it happens.

    (Queued | Loading)*  (Progress | Preview | Finished)*  Completed      all went well
    ... Failed                                                            it did not; nothing follows

Every job that was taken in ends in exactly one Completed or Failed; one whose caller has left, in Failed(Cancelled).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ..errors import TintypeError
    from .plan import Plan

Pixels: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Timings:
    """Where time went, in seconds: waiting, encoders, denoising steps, latents to pixels."""

    queue: float = 0.0
    encode: float = 0.0
    denoise: float = 0.0
    decode: float = 0.0


@dataclass(frozen=True, slots=True)
class Queued:
    """The job waits behind `position` others; `eta` seconds to its start, or None while that is unknown."""

    position: int
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Loading:
    """The job's model is brought into memory; `fraction` 0 to 1 is done."""

    model: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Image `index` has done `step` of `steps` calls of the denoiser; `eta` seconds to the end of the job."""

    index: int
    step: int
    steps: int
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What image `index` looks like after `step` steps: pixels [3, h, w], float32 in 0..1, at latent resolution."""

    index: int
    step: int
    number: int
    pixels: Pixels = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finished:
    """Image `index` is done: pixels [3, h, w], float32 in 0..1.

    Their size is the one that the model made by `plan`.
    """

    index: int
    seed: int
    pixels: Pixels = field(repr=False)
    timings: Timings
    plan: Plan = field(repr=False)
    revised_prompt: str = ""


@dataclass(frozen=True, slots=True)
class Completed:
    """All images are done: their number, evaluations of the denoiser, and tokens of both prompts."""

    model: str
    images: int
    steps: int
    prompt_tokens: int
    timings: Timings


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended without all of its images."""

    error: TintypeError


Event: TypeAlias = Queued | Loading | Progress | Preview | Finished | Completed | Failed
