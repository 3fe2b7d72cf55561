"""Grace periods: how long a freshly loaded model stays while others wait for its memory.

    period             begins when                     ends when                      while it lasts
    first use          loading ends while other        a task holds the model; 10 s   the model is not evicted
                       models wait for memory          have passed; no urgent task
                                                       wants it; it is unloaded
    minimum residency  a model that a task waited for  it lasted as long as loading,  tasks that wait for the model
                       becomes resident                or the longest period          may hold it after one another

Without the first, two models that take turns would be evicted before either is used.

Without the second, models that alternate in the queue would be evicted after one task each, and most of the time could
be spent on loading. With it, and enough tasks, at least half of the time is spent on images as long as loading takes no
longer than the longest period. No task waits longer than that period, and the running tasks, for a model to be evicted.
A model that no task waited for has cost no time, and has no minimum residency.
"""

from __future__ import annotations

import threading
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from contextlib import AbstractContextManager

    from .slot import Slot

FIRST_USE_SECONDS = 10.0  # longer than the units of work between which the engine looks up its models


class FirstUse:
    """The slots in their first-use grace period. The repository's lock guards it, and its timers take that lock.

    `locked` returns a context that holds the lock; `on_expiry` is called under it when a period has lasted its full
    time.
    """

    def __init__(self, locked: Callable[[], AbstractContextManager[None]], on_expiry: Callable[[], None]) -> None:
        self._locked, self._on_expiry = locked, on_expiry
        self._timers: dict[Slot, threading.Timer] = {}

    def __contains__(self, slot: object) -> bool:
        return slot in self._timers

    def begin(self, slot: Slot) -> None:
        """Begin the period of a model that has just been loaded."""
        self.end(slot)
        timer = threading.Timer(FIRST_USE_SECONDS, lambda: self._expire(slot, timer))
        timer.daemon = True
        self._timers[slot] = timer
        timer.start()

    def end(self, slot: Slot) -> None:
        """End the period of a model, if it is in one."""
        if timer := self._timers.pop(slot, None):
            timer.cancel()

    def end_except(self, names: Collection[str]) -> None:
        """End the periods of all models but `names`."""
        for slot in [slot for slot in self._timers if slot.name not in names]:
            self.end(slot)

    def _expire(self, slot: Slot, timer: threading.Timer) -> None:
        with self._locked():
            if self._timers.get(slot) is timer:  # it may have ended while the timer waited for the lock
                del self._timers[slot]
                self._on_expiry()


class MinimumResidency:
    """Minimum residency of models that tasks waited for. `longest` is seconds, and times are of the engine's clock."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._began: dict[str, float] = {}
        self._until: dict[str, float] = {}
        self._unused: set[str] = set()

    def record_loading(self, model: str, now: float) -> None:
        """Record that a model is being loaded."""
        self._began.setdefault(model, now)
        self._unused.discard(model)

    def record_resident(self, model: str, now: float) -> None:
        """Record that a model is in memory: its period begins if it was loading."""
        if model in self._began:
            self._until[model] = now + min(now - self._began.pop(model), self._longest)
            self._unused.add(model)

    def record_use(self, model: str) -> None:
        """Record that a task has started a unit on a model."""
        self._unused.discard(model)

    def is_unused(self, model: str) -> bool:
        """Return whether no task has used a model since it was loaded."""
        return model in self._unused

    def next_end(self, models: Iterable[str], now: float) -> float:
        """Return when the next of the models' periods that are active ends; infinity if none is."""
        ends = (self._until.get(model, now) for model in models)
        return min((end for end in ends if end > now), default=inf)

    def is_active(self, model: str, now: float) -> bool:
        """Return whether a model is in its minimum residency."""
        return now < self._until.get(model, now)
