"""Measurements of one process: plain counts, cheap enough to be taken after every step.

`samples` returns what was measured so far; `export` turns samples into Prometheus' format, possibly in another process.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from .definitions import METRICS, WIDTHS, Sample
from .observer import Observer

if TYPE_CHECKING:
    from collections.abc import Callable

Key: TypeAlias = "tuple[str, tuple[str, ...]]"  # a metric and its labels

_WIDTH_LABELS = (*map(str, WIDTHS), f"{WIDTHS[-1]}+")


class Distribution:
    """Counts of values in a histogram's buckets, not cumulative, and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Measurements(Observer):
    """Counts what an observer learns. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._counts: dict[Key, float] = {}
        self._distributions: dict[Key, Distribution] = {}
        self._loads: dict[str, float] = {}  # when each load began

    def samples(self) -> list[Sample]:
        """Return all values so far."""
        with self._lock:
            counts = [Sample(*key, value) for key, value in self._counts.items()]
            found = [Sample(*key, each.sum, tuple(each.counts)) for key, each in self._distributions.items()]
        return counts + found

    def started(self, model: str, waited: float) -> None:
        """Record that the first unit of a task starts, after it `waited`."""
        with self._lock:
            self._add("queue_seconds", waited, model)

    def ended(self, model: str, reason: str = "") -> None:
        """Record that a task has ended: with all images, or by an error with this reason."""
        with self._lock:
            self._count("tasks", 1, model, reason or "completed")
            if reason == "CANCELLED":
                self._count("cancellations", 1, model)

    def encoded(self, model: str, seconds: float) -> None:  # noqa: ARG002 - of any model
        """Record one unit of encoding."""
        with self._lock:
            self._count("busy_seconds", seconds, "encode")

    def denoised(self, model: str, images: int, width: int, seconds: float) -> None:
        """Record one step of `images` rows, in calls of at most `width` model rows."""
        with self._lock:
            self._add("step_seconds", seconds, model, width_label(width))
            self._add("step_images", images, model)
            self._count("busy_seconds", seconds, "denoise")

    def decoded(self, model: str, seconds: float) -> None:
        """Record one finished image, and how long its decoding took."""
        with self._lock:
            self._count("images", 1, model)
            self._count("busy_seconds", seconds, "decode")

    def loading(self, model: str) -> None:
        """Record that a model starts to load."""
        with self._lock:
            self._loads[model] = self._clock()

    def loaded(self, model: str, outcome: str) -> None:
        """Record the end of a load: `loaded`, `failed` or `cancelled`."""
        with self._lock:
            self._count("model_loads", 1, model, outcome)
            began = self._loads.pop(model, None)
            if began is not None and outcome == "loaded":
                self._add("model_load_seconds", self._clock() - began, model)

    def evicted(self, model: str) -> None:
        """Record that a model was evicted from memory."""
        with self._lock:
            self._count("model_evictions", 1, model)

    def answered(self, call: str, status: str, seconds: float) -> None:
        """Record a call of the contract with the name of its gRPC status."""
        with self._lock:
            self._count("requests", 1, call, status)
            self._add("request_seconds", seconds, call)

    # The lock is held.

    def _count(self, metric: str, value: float, *labels: str) -> None:
        key = (metric, labels)
        self._counts[key] = self._counts.get(key, 0) + value

    def _add(self, metric: str, value: float, *labels: str) -> None:
        key = (metric, labels)
        found = self._distributions.get(key)
        if found is None:
            found = self._distributions[key] = Distribution(METRICS[metric].buckets)
        found.add(value)


def width_label(width: int) -> str:
    """Return the label of the rows of a call: the next power of two, so that there are few labels."""
    return _WIDTH_LABELS[bisect_left(WIDTHS, width)]


def resident_memory() -> int:
    """Return the bytes of this process that are in memory; 0 if they are unknown."""
    if sys.platform != "linux":
        return 0
    try:
        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - read at every scrape
            found = next((line for line in status if line.startswith("VmRSS:")), "")
    except OSError:
        return 0
    return int(found.split()[1]) * 1024 if found else 0
