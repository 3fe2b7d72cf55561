"""Ctrl-C, for commands that wait: the first one ends them in order, the second one at once.

Python's own way raises KeyboardInterrupt wherever the second one finds the program, also inside gRPC, which then waits
for ever for a server that nobody stops any more.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")

INTERRUPTED = 130  # 128 + SIGINT, as shells count
LAST = 1.0  # seconds for what has been told to end


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what `work` returns. Raises KeyboardInterrupt once it has ended because of a Ctrl-C."""
    try:
        return asyncio.run(_interruptible(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _interruptible(work: Coroutine[Any, Any, Result]) -> Result:
    task = asyncio.ensure_future(work)

    def interrupted() -> None:
        if task.cancelling():
            os._exit(INTERRUPTED)
        task.cancel()

    with suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted)
    try:
        return await task
    finally:
        await _ended()


async def _ended() -> None:
    """Wait for tasks that are about to end: gRPC's print a traceback where they are cancelled in the midst of that."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    if rest:
        await asyncio.wait(rest, timeout=LAST)
