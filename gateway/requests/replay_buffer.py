"""A stream that runs once for several clients: the first client reads it live, repeated requests from the start.

- The stream runs to its end, whether or not a client reads it.
- Repeated requests receive the finished images; transient events, such as previews, are not kept.
- A client that reads more slowly than events arrive misses transient events, but never an image.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from ..http.body_limits import extend_hold

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_MAX_BACKLOG = 4  # events waiting for a reader from which transient events are dropped


class EventKind(Enum):
    """How an event is delivered to repeated requests and slow readers."""

    IMAGE = "a finished image: always delivered"
    TRANSIENT = "progress or preview: not kept"
    FAILURE = "the error that ends the stream"


class StreamEvent(NamedTuple):
    """One event as bytes."""

    data: bytes
    kind: EventKind = EventKind.TRANSIENT


class StreamFailure(Exception):
    """The recorded stream has ended with a failure."""


class ReplayBuffer:
    """The events that `events` yields. `task` is the task that reads them; it raises StreamFailed after a failure."""

    def __init__(self, events: AsyncGenerator[StreamEvent]) -> None:
        self._kept: list[bytes] = []
        self._live_queue = self._queue_from_start()
        self._has_live_reader = False  # whether a client reads `live`
        self._replay_queues: set[asyncio.Queue[bytes | None]] = set()
        self.task = asyncio.create_task(self._run(events))

    def __len__(self) -> int:
        """Return the bytes of the kept events."""
        return sum(map(len, self._kept))

    async def live(self) -> AsyncGenerator[bytes]:
        """Yield the events as they arrive; for the first client, once."""
        self._has_live_reader = True
        try:
            while (data := await self._live_queue.get()) is not None:
                yield data
        finally:
            self._has_live_reader = False
            self._live_queue = self._queue_from_start()

    async def replay(self) -> AsyncGenerator[bytes]:
        """Yield all images from the first one on, and the failure if there is one, each as soon as it arrives."""
        queue = self._queue_from_start()
        if self.task.done():
            queue.put_nowait(None)
        self._replay_queues.add(queue)
        try:
            while (data := await queue.get()) is not None:
                yield data
        finally:
            self._replay_queues.discard(queue)

    def _queue_from_start(self) -> asyncio.Queue[bytes | None]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for data in self._kept:
            queue.put_nowait(data)
        return queue

    async def _run(self, events: AsyncGenerator[StreamEvent]) -> None:
        failed = False
        try:
            with extend_hold():
                async with aclosing(events):
                    async for event in events:
                        self._deliver(event)
                        failed |= event.kind is EventKind.FAILURE
        finally:
            if not self._has_live_reader:  # for a client that has disconnected, only images stay in memory
                self._live_queue = self._queue_from_start()
            for queue in (self._live_queue, *self._replay_queues):
                queue.put_nowait(None)
        if failed:
            raise StreamFailure

    def _deliver(self, event: StreamEvent) -> None:
        if event.kind is EventKind.TRANSIENT:
            if self._live_queue.qsize() < _MAX_BACKLOG:
                self._live_queue.put_nowait(event.data)
            return
        self._kept.append(event.data)
        for queue in (self._live_queue, *self._replay_queues):
            queue.put_nowait(event.data)
