"""A mailbox: the events of one job on their way to one reader, which may be slow.

Of news that newer news make worthless, only the newest waits: a place in the queue, a share of loading, a picture's
progress. Of a picture's previews the newest few wait. Pictures, and the end, always do; so what waits is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from .events import Event, Loading, Preview, Progress, Queued

if TYPE_CHECKING:
    from collections.abc import Iterable

PREVIEWS = 4  # of one picture, waiting


class Mailbox:
    """Used on one event loop only; `deliver` is the one method for other threads."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque()
        self._filled = asyncio.Event()

    def deliver(self, events: Iterable[Event]) -> None:
        """Put events in, from any thread. Raises RuntimeError when the reader's loop is closed."""
        self._loop.call_soon_threadsafe(self.put, events)

    def put(self, events: Iterable[Event]) -> None:
        """Put events in, from the reader's loop."""
        for event in events:
            self._make_room(event)
            self._events.append(event)
        self._filled.set()

    async def get(self) -> Event:
        """Wait for the next event and take it out."""
        while not self._events:
            self._filled.clear()
            await self._filled.wait()
        return self._events.popleft()

    def __len__(self) -> int:
        return len(self._events)

    def _make_room(self, event: Event) -> None:
        topic = _topic(event)
        alike = [place for place, other in enumerate(self._events) if topic is not None and _topic(other) == topic]
        if len(alike) >= (PREVIEWS if isinstance(event, Preview) else 1):
            del self._events[alike[0]]


def _topic(event: Event) -> tuple[type, int] | None:
    """Return what the event is about, if newer news of the same make it worthless."""
    if isinstance(event, Queued | Loading):
        return type(event), 0
    if isinstance(event, Progress | Preview):
        return type(event), event.index
    return None
