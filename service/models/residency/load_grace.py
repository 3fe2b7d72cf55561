"""Grace periods: how long a freshly loaded model stays while others wait for its memory.

    period             begins when                     ends when                      while it lasts
    first use          loading ends while other        a task holds the model; 10 s   the model is not evicted
                       models wait for memory          have passed; no urgent task
                                                       wants it; it is unloaded
    minimum residency  a model that a task waited for  it lasted as long as loading,  tasks that wait for the model
                       becomes resident                or the longest period          may hold it after one another

Without the first, two models that take turns would be evicted before either is used.

Without the second, most of the time would go into loading. With it at least half of the time goes into images, however
the models alternate in the queue, and no task waits longer than the longest period for a model to be evicted. A model
that no task waited for has cost no time, and has no minimum residency.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager

    from .slot import Slot

FIRST_USE = 10.0  # seconds: longer than the units of work between which the engine looks up its models


class FirstUse:
    """The slots in their first-use grace period. The repository's lock guards it, and its timers take that lock.

    `locked` holds the lock; `expired` is called under it when a period has lasted its full time.
    """

    def __init__(self, locked: Callable[[], AbstractContextManager[None]], expired: Callable[[], None]) -> None:
        self._locked, self._expired = locked, expired
        self._timers: dict[Slot, threading.Timer] = {}

    def __contains__(self, slot: object) -> bool:
        return slot in self._timers

    def begin(self, slot: Slot) -> None:
        """Begin the period of a model that has just been loaded."""
        self.end(slot)
        timer = threading.Timer(FIRST_USE, lambda: self._expire(slot, timer))
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
                self._expired()


class MinimumResidency:
    """Minimum residency of the models that were seen loading. `longest` and points of the engine's clock in seconds."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._began: dict[str, float] = {}
        self._until: dict[str, float] = {}
        self._unused: set[str] = set()

    def note_loading(self, model: str, now: float) -> None:
        """Note that a model is being loaded."""
        self._began.setdefault(model, now)
        self._unused.discard(model)

    def note_resident(self, model: str, now: float) -> None:
        """Note that a model is in memory: its period begins if it was loading."""
        if model in self._began:
            self._until[model] = now + min(now - self._began.pop(model), self._longest)
            self._unused.add(model)

    def note_used(self, model: str) -> None:
        """Note that a task on a model has started a unit."""
        self._unused.discard(model)

    def is_unused(self, model: str) -> bool:
        """Return whether no task has used a model since it was loaded."""
        return model in self._unused

    def lasts(self, model: str, now: float) -> bool:
        """Return whether the period of a model has not ended."""
        return now < self._until.get(model, now)
