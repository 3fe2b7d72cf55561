"""Cancellation of work when its client disconnects, which ASGI servers do not do by themselves."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ClientGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

Result = TypeVar("Result")


async def cancel_on_disconnect(receive: Callable[[], Awaitable[Any]], work: Awaitable[Result]) -> Result:
    """Return the result of `work`; if the client disconnects first, cancel `work` and raise ClientGone.

    `receive` is ASGI's; the request's body must have been read from it.
    """
    return await cancel_when(_wait_for_disconnect(receive), work, ClientGone)


async def cancel_when(end: Coroutine[Any, Any, Any], work: Awaitable[Result], error: Callable[[], Exception]) -> Result:
    """Return the result of `work`; if `end` finishes first, cancel `work` and raise `error()`."""
    task, end_task = asyncio.ensure_future(work), asyncio.ensure_future(end)
    try:
        await asyncio.wait({task, end_task}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise error()
        return task.result()
    finally:
        await _cancel_and_wait(task)
        await _cancel_and_wait(end_task)


async def _wait_for_disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel_and_wait(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait until it has released its resources."""
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
