"""The thread of one device: it turns the engine's crank, and carries what happens to the event loops that wait for it.

All calls of models happen in this one thread. It sleeps when there is nothing to do, and wakes when a job comes or
leaves; only while a model is loading does it look again from time to time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Self

from ..errors import DeadlineExceeded, GenerationFailed, Unavailable
from .events import Completed, Failed, Loading, Preview, Progress, Queued

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from ..errors import TintypeError
    from ..job import Job
    from .engine import Engine
    from .events import Event
    from .task import Ticket

LATE = 0.1  # seconds after a deadline: by then the engine has told of it, unless a long unit is under way
POLL = 0.02  # seconds between two looks at a model that is loading, or at a deadline meanwhile
PREVIEWS = 4  # of one image, waiting

log = logging.getLogger(__name__)


class DeviceThread:
    """Runs `engine` in a thread of its own, from construction until `close`."""

    def __init__(self, engine: Engine, *, name: str = "tintype-device") -> None:
        self._engine = engine
        self._buffers: dict[Ticket, EventBuffer] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    async def events(self, job: Job) -> AsyncGenerator[Event]:
        """Run `job` and tell what happens; closing the generator cancels what is left of it.

        Raises what `Engine.admit` raises; a job that fails later tells so with Failed.
        """
        ticket, buffer = self._admit(job)
        left = None if job.deadline is None else job.deadline - self._engine.now
        ends = None if left is None else asyncio.get_running_loop().time() + left + LATE
        try:
            while True:
                event = await _within(buffer, ends, left)
                yield event
                if isinstance(event, Completed | Failed):
                    return
        finally:
            self._drop(ticket)

    async def drain(self, grace: float) -> None:
        """Refuse new jobs; give those there are `grace` seconds to end, then end them with Unavailable."""
        self._engine.drain()
        self._idle.clear()
        self._wake.set()
        if not await asyncio.to_thread(self._idle.wait, grace):
            self._fail_all()

    def close(self) -> None:
        """End what still runs, and the thread with it; waits for the unit of work that is under way."""
        self._engine.drain()
        self._fail_all()
        self._closed = True
        self._wake.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _admit(self, job: Job) -> tuple[Ticket, EventBuffer]:
        buffer = EventBuffer()
        with self._lock:  # nothing may be routed between the two
            ticket = self._engine.admit(job)
            self._buffers[ticket] = buffer
        self._wake.set()
        return ticket, buffer

    def _drop(self, ticket: Ticket) -> None:
        with self._lock:
            self._buffers.pop(ticket, None)
        self._engine.cancel(ticket)
        self._wake.set()

    def _fail_all(self) -> None:
        self._engine.fail_all(Unavailable("the server is shutting down"))
        self._wake.set()

    # In the thread.

    def _loop(self) -> None:
        while True:
            self._wake.clear()
            if self._closed:  # looked at after the flag is cleared, or `close` between the two would go unnoticed
                break
            if self._step():
                continue
            if not self._engine.busy:
                self._idle.set()
            self._wake.wait(POLL if self._engine.busy else None)
        self._route()

    def _step(self) -> bool:
        try:
            worked = self._engine.step()
            self._route()
        except Exception as error:
            log.exception("the engine failed; what was running is ended, the rest goes on")
            self._engine.fail_all(_internal(error), waiting=False)
            return False  # with a pause, lest it fails for ever as fast as it can
        return worked

    def _route(self) -> None:
        letters: dict[Ticket, list[Event]] = {}
        for ticket, event in self._engine.collect():
            letters.setdefault(ticket, []).append(event)
        for ticket, events in letters.items():
            with self._lock:
                buffer = self._buffers.get(ticket)
            if buffer is not None:
                self._deliver(ticket, buffer, events)

    def _deliver(self, ticket: Ticket, buffer: EventBuffer, events: list[Event]) -> None:
        try:
            buffer.deliver(events)
        except RuntimeError:  # the reader's event loop is closed
            self._drop(ticket)


class EventBuffer:
    """The events of one job on their way to one reader, which may be slow.

    Of news that newer news make worthless, only the newest waits: a place in the queue, a share of loading, an image's
    progress. Of an image's previews the newest few wait. Images, and the end, always do; so what waits is bounded.
    Used on one event loop only; `deliver` is the one method for other threads.
    """

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


async def _within(buffer: EventBuffer, ends: float | None, seconds: float | None) -> Event:
    """Return the next event; that the deadline has passed, if there is none when the loop's clock is at `ends`."""
    try:
        async with asyncio.timeout_at(ends):
            return await buffer.get()
    except TimeoutError:
        return Failed(DeadlineExceeded(f"not done within {seconds:.3g} s of its arrival"))


def _internal(error: Exception) -> TintypeError:
    return GenerationFailed(f"the engine failed: {type(error).__name__}: {error}")
