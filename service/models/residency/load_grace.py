"""Grace periods: how long a freshly loaded model is protected from eviction.

    period      begins when                                 ends when
    first use   loading ends while other models wait for    a task holds the model; 10 s have passed; no urgent task
                memory                                      wants it; it is unloaded

Without it, two models that take turns would be evicted before either is used.
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
