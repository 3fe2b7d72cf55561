"""The line of models that wait for memory: first come, first served, and whoever nobody holds makes room.

A model that has come at last stays for a while, so that who asked for it can use it before the next in line takes its
place. Not safe for threads: the repository's lock guards it, and its timers take that lock.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from .slot import to_evict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from contextlib import AbstractContextManager

    from .slot import Slot

log = logging.getLogger(__name__)

FRESH = 10.0  # seconds: longer than the units of work between which the engine comes for a model


class LoadQueue:
    """Models of `slots` on their way to `budget` bytes (0: no limit).

    `load` begins to load a model whose turn has come, `drop` takes one out that makes room; `locked` holds the lock.
    """

    def __init__(
        self,
        slots: Iterable[Slot],
        budget: int,
        *,
        locked: Callable[[], AbstractContextManager[None]],
        load: Callable[[Slot], object],
        drop: Callable[[Slot], None],
    ) -> None:
        self._slots, self._budget, self._locked, self._load, self._drop = slots, budget, locked, load, drop
        self._waiting: deque[Slot] = deque()
        self._closed = False

    def join(self, slot: Slot) -> None:
        """Put a model at the end; it is loaded at once if nobody is in its way."""
        self._waiting.append(slot)
        self.move()

    def leave(self, slot: Slot) -> bool:
        """Take a model out; False if it is not in."""
        there = slot in self._waiting
        if there:
            self._waiting.remove(slot)
        return there

    def move(self) -> None:
        """Let those in line load, as far as the budget goes."""
        while self._waiting and not self._closed and self._make_room(self._waiting[0]):
            slot = self._waiting.popleft()
            slot.admitted = True
            self._load(slot)

    def keep_fresh(self, slot: Slot) -> None:
        """Leave who asked for a model some time to come for it, before those in line take its place."""
        if not self._waiting:
            return
        slot.fresh = True
        timer = threading.Timer(FRESH, self._stale, (slot,))
        timer.daemon = True
        timer.start()

    def forgo(self, wanted: Collection[str], urgent: Collection[str]) -> None:
        """Keep nothing fresh for others than the `urgent`, nor in line what was only for who does not want it any more.

        What somebody asked for by name stays in line.
        """
        for slot in self._slots:
            slot.fresh = slot.fresh and slot.name in urgent
            if not slot.asked and slot.name not in wanted and self.leave(slot):
                self._drop(slot)
        self.move()

    def close(self) -> None:
        """Load no more."""
        self._closed = True
        self._waiting.clear()

    def _stale(self, slot: Slot) -> None:
        with self._locked():
            slot.fresh = False
            self.move()

    def _make_room(self, slot: Slot) -> bool:
        """Drop what has to go for `slot`; False while too much is in use.

        What is dropped here keeps its memory until the bytes are really taken: who comes back soon is loaded sooner.
        """
        leaving = to_evict(self._slots, slot, self._budget) if self._budget else []
        for other in leaving or ():
            log.info("model %s makes room for %s", other.name, slot.name)
            self._drop(other)
        return leaving is not None
