"""A stream that is told to several: at once, later, slowly, or to nobody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tintype.gateway.http.body import JsonBody
from tintype.gateway.requests.idempotency import ENTRY, IdempotencyCache
from tintype.gateway.requests.replay_buffer import EventKind, ReplayBuffer, StreamEvent, StreamFailed
from tintype.gateway.requests.reply import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


def recording(*told: StreamEvent, until: asyncio.Event | None = None) -> ReplayBuffer:
    """What is told, and then waited for."""

    async def events() -> AsyncGenerator[StreamEvent]:
        for one in told:
            yield one
        if until is not None:
            await until.wait()

    return ReplayBuffer(events())


IMAGE, TRANSIENT, FAILURE = (
    StreamEvent(kind.name.encode(), kind) for kind in (EventKind.IMAGE, EventKind.TRANSIENT, EventKind.FAILURE)
)


class TestRecording:
    async def test_listeners(self) -> None:
        """The first hears all of it; who comes later, before the end or after it, the pictures."""
        go = asyncio.Event()
        whole = recording(TRANSIENT, IMAGE, TRANSIENT, IMAGE, until=go)
        first, during = whole.first(), whole.again()
        assert [await anext(first) for _ in range(4)] == [b"TRANSIENT", b"IMAGE"] * 2
        assert [await anext(during), await anext(during)] == [b"IMAGE"] * 2
        go.set()
        assert [data async for data in first] == [data async for data in during] == []
        assert [data async for data in whole.again()] == [b"IMAGE"] * 2
        assert len(whole) == 2 * len(b"IMAGE")

    async def test_slow(self) -> None:
        """Who doesn't read misses what is of the moment, so that no memory fills with it."""
        go = asyncio.Event()
        whole = recording(IMAGE, *[TRANSIENT] * 100, IMAGE, until=go)
        heard = whole.first()
        assert await anext(heard) == b"IMAGE"
        go.set()
        await whole.rest
        *moments, last = [data async for data in heard]
        assert len(moments) <= 4
        assert last == b"IMAGE"

    async def test_nobody(self) -> None:
        """Of what nobody heard only the pictures are kept."""
        whole = recording(TRANSIENT, IMAGE)
        await whole.rest
        assert [data async for data in whole.first()] == [b"IMAGE"]

    async def test_failure(self) -> None:
        """All hear of a failure, also who comes before it is forgotten."""
        whole = recording(IMAGE, FAILURE)
        with pytest.raises(StreamFailed):
            await whole.rest
        assert [data async for data in whole.first()] == [data async for data in whole.again()]
        assert [data async for data in whole.again()] == [b"IMAGE", b"FAILURE"]

    async def test_leaving(self) -> None:
        """Who stops listening is forgotten."""
        go = asyncio.Event()
        whole = recording(IMAGE, until=go)
        leaving = whole.again()
        await anext(leaving)
        await leaving.aclose()
        assert not whole._again
        go.set()
        await whole.rest

    async def test_room(self) -> None:
        """A stream counts when it has ended, with what is kept of it, and makes room as others do."""
        cache, go = IdempotencyCache(100, capacity=2 * ENTRY + 10), asyncio.Event()

        async def begin() -> Reply:
            return Reply(recording(TRANSIENT, IMAGE, until=go), {})

        async def other() -> Reply:
            return Reply(JsonBody([bytes(6)]), {})

        await cache.get_or_run("stream", b"", begin)
        await cache.get_or_run("a", b"", other)
        assert set(cache._entries) == {"stream", "a"}
        go.set()
        await asyncio.sleep(0.01)
        assert set(cache._entries) == {"a"}
