"""Threads for calls that may never return, such as reads from network disks and DNS look-ups.

- Each kind of call has its own threads, so that a stuck call delays only calls of the same kind.
- A caller waits for a limited time. The thread keeps waiting until the operating system returns.
- The threads are daemons, so the process can exit without them. Python joins the threads of its own pools at exit, so
  one stuck read would block the exit forever.
"""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

IDLE = 10.0  # seconds after which a thread without work ends


class CallTimeout(Exception):
    """A call has not returned in time."""


class Threads(ThreadPoolExecutor):
    """An executor of at most `most` daemon threads; `call` waits at most `seconds`.

    It is a ThreadPoolExecutor because event loops accept only that class as their default executor.
    """

    def __init__(self, name: str, most: int, seconds: float = math.inf) -> None:
        super().__init__(most, name)
        self._name, self._most, self._seconds = name, most, seconds
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._guard = Lock()
        self._alive = self._unfinished = 0  # threads, calls
        self._running: dict[Future[Any], float] = {}  # start time, seconds of `monotonic`

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Run a function in one of the threads."""
        future: Future[Result] = Future()
        with self._guard:
            self._work.put((future, partial(fn, *args, **kwargs)))
            self._unfinished += 1
            if self._alive < min(self._unfinished, self._most):
                self._alive += 1
                Thread(target=self._loop, name=self._name, daemon=True).start()
        return future

    async def call(self, function: Callable[..., Result], *args: Any) -> Result:
        """Run a function in a thread and return its result.

        Raises:
            CallTimeout: the function takes too long, or all threads are stuck.
        """
        if self.stuck >= self._most:
            raise CallTimeout
        # The function's lines in the log have the ids of the request.
        future: Future[Result] = self.submit(copy_context().run, function, *args)
        waiting = asyncio.wrap_future(future)
        try:
            seconds = None if math.isinf(self._seconds) else self._seconds
            if not (await asyncio.wait({waiting}, timeout=seconds))[0]:
                self._give_up(future)
                raise CallTimeout
            return waiting.result()
        finally:
            waiting.cancel()  # a call that has not begun never runs

    @property
    def stuck(self) -> int:
        """Number of calls that have run for longer than a caller waits."""
        now = monotonic()
        with self._guard:
            return sum(now - began > self._seconds for began in self._running.values())

    def _give_up(self, future: Future[Any]) -> None:
        """Count a running call as stuck, even if it began later than its caller began to wait."""
        with self._guard:
            if future in self._running:
                self._running[future] = -math.inf

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as there
        """Return without waiting for any thread.

        Idle threads end after IDLE seconds, stuck threads with the process.
        """

    def _loop(self) -> None:
        while self._one():
            pass

    def _one(self) -> bool:
        """Run one call; return False if none came for IDLE seconds, so that the thread ends."""
        try:
            future, work = self._work.get(timeout=IDLE)
        except Empty:
            with self._guard:
                ends = self._work.empty()
                self._alive -= ends
                return not ends
        with self._guard:
            self._running[future] = monotonic()
        try:
            if future.set_running_or_notify_cancel():
                _fill(future, work)
        finally:
            with self._guard:
                self._unfinished -= 1
                del self._running[future]
        return True


def _fill(future: Future[Any], work: Callable[[], Any]) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - the caller handles it
        future.set_exception(error)
    else:
        future.set_result(result)
