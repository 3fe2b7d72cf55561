"""Measured figures: samples with median and range, in groups that are filled while measuring."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Samples:
    """Values of one quantity, measured several times; empty if it was not measured."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median. There must be a value."""
        return statistics.median(self.values)

    @property
    def json(self) -> dict[str, float | int] | None:
        """Median, range and number; None without values."""
        if not self.values:
            return None
        return {"median": self.median, "least": min(self.values), "most": max(self.values), "count": len(self.values)}


@dataclass(slots=True)
class Rate:
    """Images of several callers: how many, and the seconds from the first request to the last image."""

    images: int = 0
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Images per second, 0 if none was measured."""
        return self.images / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class StepFigures:
    """What was measured with one number of steps. Times are in seconds.

    - `image`: a warm image of one caller, from the request to the file.
    - `step`: a denoising step of it.
    - `outside`: the part of it in which the service neither encodes prompts, nor denoises, nor decodes.
    - `cpu`: CPU time of the service for an image of one caller, the mean of all.
    - `through_gateway`: what the gateway adds to an image, of pairs of requests in turn.
    - `rates`: images per second, by the number of callers.
    """

    steps: int
    image: Samples = field(default_factory=Samples)
    step: Samples = field(default_factory=Samples)
    outside: Samples = field(default_factory=Samples)
    cpu: Samples = field(default_factory=Samples)
    through_gateway: Samples = field(default_factory=Samples)
    rates: dict[int, Rate] = field(default_factory=dict)


@dataclass(slots=True)
class Figures:
    """All that was measured, in seconds and bytes, and what could not be measured and why.

    - `imports`: imports of the service and onnxruntime, in a process of their own.
    - `ready`: from the start of the service's process until it serves, with the model in memory.
    - `load`: loading the model again, when its files are in the page cache.
    - `first`: the first image of the process.
    """

    model: str = ""
    provider: str = ""
    precision: str = ""
    size: str = ""
    where: str = ""
    load_average: float | None = None
    imports: Samples = field(default_factory=Samples)
    ready: Samples = field(default_factory=Samples)
    load: Samples = field(default_factory=Samples)
    first: Samples = field(default_factory=Samples)
    by_steps: list[StepFigures] = field(default_factory=list)
    service_memory: int = 0
    gateway_memory: int = 0
    notes: list[str] = field(default_factory=list)

    def of(self, steps: int) -> StepFigures:
        """Return the figures of a number of steps, new ones if there are none."""
        for found in self.by_steps:
            if found.steps == steps:
                return found
        self.by_steps.append(StepFigures(steps))
        return self.by_steps[-1]


def unique(numbers: Sequence[int]) -> list[int]:
    """Return numbers without repetitions, in their order."""
    return list(dict.fromkeys(numbers))
