"""Simulated time: events in order, and a source of random numbers."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A queue of events; events of one time happen in the order in which they were added."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Call `action` at `time`, in seconds, which must not be past."""
        if time < self.now:
            raise ValueError(f"an event must not be in the past; got {time} at {self.now}")
        heappush(self._events, (time, next(self._numbers), action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` after `seconds`."""
        self.at(self.now + seconds, action)

    def run(self) -> None:
        """Run all events."""
        while self._events:
            self.now, _, action = heappop(self._events)
            action()
