"""Runs the engine on its own thread and forwards its events to the asyncio loops that wait for them.

All model calls happen on this thread. It sleeps while there is no work and wakes when a job is admitted or cancelled.
While tasks wait, for example for a model to load, it polls.
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
    from collections.abc import AsyncGenerator, Callable, Iterable

    from ..errors import TintypeError
    from ..job import Job
    from .engine import Engine
    from .events import Event
    from .plan import Ticket

DEADLINE_MARGIN = 0.1  # seconds after a deadline by which the engine has reported it, unless a long unit is running
REST = 2.0  # seconds without work after which the thread rests
POLL = 0.02  # seconds between two checks for loaded models and passed deadlines
MAX_PREVIEWS = 4  # buffered previews per image
HANG_FACTOR = 5  # times the longest unit that has finished; a shorter unit does not count as hung

log = logging.getLogger(__name__)


class DeviceThread:
    """Runs `engine` on its own thread, from construction until `close`.

    `rest` is called there once the engine has had no work for a while: it returns memory, for example.
    """

    def __init__(
        self, engine: Engine, *, name: str = "tintype-device", rest: Callable[[], None] = lambda: None
    ) -> None:
        self._engine, self._rest, self._rested = engine, rest, True
        self._buffers: dict[Ticket, EventBuffer] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._closed = False
        self._heartbeat = Heartbeat()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    async def events(self, job: Job) -> AsyncGenerator[Event]:
        """Run `job` and yield its events; closing the generator cancels it.

        Raises the errors of `Engine.admit`. A later failure is the event Failed.
        """
        ticket, buffer = self._admit(job)
        left = None if job.deadline is None else job.deadline - self._engine.now
        until = None if left is None else asyncio.get_running_loop().time() + left + DEADLINE_MARGIN
        try:
            while True:
                event = await _next_event(buffer, until, left)
                yield event
                if isinstance(event, Completed | Failed):
                    return
        finally:
            self._drop(ticket)

    def count_tasks(self) -> tuple[int, int]:
        """Return how many tasks wait for their first unit, and how many have started."""
        return self._engine.count_tasks()

    def hangs(self, after: float) -> bool:
        """Whether the running unit takes longer than `after` seconds; see `Heartbeat.hangs`."""
        return self._heartbeat.hangs(self._engine.now, after)

    async def drain(self, grace: float) -> None:
        """Refuse new jobs; fail tasks that have not ended after `grace` seconds with Unavailable."""
        self._engine.drain()
        self._idle.clear()
        self._wake.set()
        if not await asyncio.to_thread(self._idle.wait, grace):
            self._fail_all()

    def close(self) -> None:
        """Fail all tasks and stop the thread; waits for the running unit of work."""
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
        with self._lock:  # no event may be routed before the buffer exists
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

    # On the device thread.

    def _loop(self) -> None:
        while True:
            self._wake.clear()
            if self._closed:  # read after `_wake` is cleared; otherwise a `close` in between would be missed
                break
            if self._step():
                self._rested = False
                continue
            self._pause()
        self._route()

    def _pause(self) -> None:
        """Wait for work; rest once if none comes."""
        if self._engine.busy:
            self._wake.wait(POLL)
            return
        self._idle.set()
        if self._wake.wait(None if self._rested else REST):
            return
        self._rested = True
        try:
            self._rest()
        except Exception:
            log.exception("memory could not be returned to the system")

    def _step(self) -> bool:
        self._heartbeat.begin(self._engine.now)
        try:
            worked = self._engine.step()
            self._route()
        except Exception as error:
            log.exception("the engine failed; running tasks are failed, waiting tasks continue")
            self._engine.fail_all(_engine_failure(error), waiting=False)
            return False  # pause before the next attempt
        finally:
            self._heartbeat.end(self._engine.now)
        return worked

    def _route(self) -> None:
        batches: dict[Ticket, list[Event]] = {}
        for ticket, event in self._engine.collect():
            batches.setdefault(ticket, []).append(event)
        for ticket, events in batches.items():
            with self._lock:
                buffer = self._buffers.get(ticket)
            if buffer is not None:
                self._deliver(ticket, buffer, events)

    def _deliver(self, ticket: Ticket, buffer: EventBuffer, events: list[Event]) -> None:
        try:
            buffer.deliver(events)
        except RuntimeError:  # the reader's event loop is closed
            self._drop(ticket)


class Heartbeat:
    """How long the device thread has been in its present step, in seconds of the engine's clock."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._longest = 0.0

    def begin(self, now: float) -> None:
        """Record the beginning of a step."""
        self._began = now

    def end(self, now: float) -> None:
        """Record the end of a step."""
        if self._began is not None:
            self._longest = max(self._longest, now - self._began)
        self._began = None

    def hangs(self, now: float, after: float) -> bool:
        """Whether the present step takes longer than `after` seconds and HANG_FACTOR times the longest one so far.

        The second bound follows a slow device by itself: its next step is not taken for hung.
        """
        began = self._began  # another thread may end the step now
        return began is not None and now - began > max(after, HANG_FACTOR * self._longest)


class EventBuffer:
    """Buffers the events of one task for one reader, which may be slow. Its size is bounded.

    It keeps only the newest queue position, loading progress and progress of each image, and the newest few previews.
    Images and the last event are always kept. Call all methods except `deliver` on the reader's event loop.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque()
        self._filled = asyncio.Event()

    def deliver(self, events: Iterable[Event]) -> None:
        """Add events, from any thread. Raises RuntimeError if the reader's loop is closed."""
        self._loop.call_soon_threadsafe(self.put, events)

    def put(self, events: Iterable[Event]) -> None:
        """Add events, on the reader's loop."""
        for event in events:
            self._make_room(event)
            self._events.append(event)
        self._filled.set()

    async def get(self) -> Event:
        """Wait for the next event and remove it."""
        while not self._events:
            self._filled.clear()
            await self._filled.wait()
        return self._events.popleft()

    def __len__(self) -> int:
        return len(self._events)

    def _make_room(self, event: Event) -> None:
        topic = _topic(event)
        older = [i for i, other in enumerate(self._events) if topic is not None and _topic(other) == topic]
        if len(older) >= (MAX_PREVIEWS if isinstance(event, Preview) else 1):
            del self._events[older[0]]


def _topic(event: Event) -> tuple[type, int] | None:
    """Return the key of events that a newer one replaces; None for events that are always kept."""
    if isinstance(event, Queued | Loading):
        return type(event), 0
    if isinstance(event, Progress | Preview):
        return type(event), event.index
    return None


async def _next_event(buffer: EventBuffer, until: float | None, seconds: float | None) -> Event:
    """Return the next event, or Failed(DeadlineExceeded) at time `until` of the loop's clock."""
    try:
        async with asyncio.timeout_at(until):
            return await buffer.get()
    except TimeoutError:
        return Failed(DeadlineExceeded(f"not done within {seconds:.3g} s of arrival"))


def _engine_failure(error: Exception) -> TintypeError:
    return GenerationFailed(f"the engine failed: {type(error).__name__}: {error}")
