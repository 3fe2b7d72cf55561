"""Work is cancelled when its client disconnects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tintype.gateway.errors import ClientGone
from tintype.gateway.http.disconnect import cancel_on_disconnect

pytestmark = pytest.mark.anyio


async def never_disconnect() -> dict[str, str]:
    await asyncio.sleep(60)
    return {"type": "http.disconnect"}


async def disconnect() -> dict[str, str]:
    return {"type": "http.disconnect"}


async def test_the_result_is_returned() -> None:
    """A client that waits gets the result, and no task is left."""

    async def work() -> int:
        return 7

    before = asyncio.all_tasks()
    assert await cancel_on_disconnect(never_disconnect, work()) == 7
    assert asyncio.all_tasks() <= before


async def test_an_error_is_raised() -> None:
    """An error of the work is raised to the caller."""

    async def work() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await cancel_on_disconnect(never_disconnect, work())


async def test_a_disconnect_cancels_the_work() -> None:
    """When the client disconnects, the work is cancelled and has cleaned up before ClientGone is raised."""
    events: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            events.append("cleaned")

    with pytest.raises(ClientGone):
        await cancel_on_disconnect(disconnect, work())
    assert events == ["cleaned"]


async def test_other_messages_do_not_cancel() -> None:
    """Other messages do not cancel the work."""
    messages: list[Any] = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    with pytest.raises(ClientGone):
        await cancel_on_disconnect(receive, asyncio.sleep(60))
    assert messages == []


async def test_cancelling_the_handler_cancels_the_work() -> None:
    """Cancelling the handler cancels the work."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = asyncio.create_task(cancel_on_disconnect(never_disconnect, work()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
