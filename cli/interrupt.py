"""Ctrl-C for commands that wait: the first one cancels their work, the second one ends the process at once.

Without this module, a second Ctrl-C raises KeyboardInterrupt at any place, also inside gRPC, which then waits forever
for a server that is never stopped.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

CLEANUP_TIMEOUT = 1.0  # seconds for tasks that are already ending


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` and return its result. Raises KeyboardInterrupt after a Ctrl-C, once `work` has ended."""
    try:
        return asyncio.run(_interruptible(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)

    def interrupt() -> None:
        # A handler of the event loop would wait for cleanup that blocks the loop, such as the end of a model's loading.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        task.cancel()

    with suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
    try:
        return await task
    finally:
        await _wait_for_other_tasks()


async def _wait_for_other_tasks() -> None:
    """Wait for tasks that are already ending: a task of gRPC that is cancelled while it ends prints a traceback."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=CLEANUP_TIMEOUT)
