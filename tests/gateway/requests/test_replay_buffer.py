"""A stream that is told to several: at once, later, slowly, or to nobody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tintype.gateway.http.body import Body
from tintype.gateway.requests.idempotency import ENTRY, Repeats
from tintype.gateway.requests.replay_buffer import BrokenOff, Kind, Recording, Told
from tintype.gateway.requests.reply import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


def recording(*told: Told, until: asyncio.Event | None = None) -> Recording:
    """What is told, and then waited for."""

    async def events() -> AsyncGenerator[Told]:
        for one in told:
            yield one
        if until is not None:
            await until.wait()

    return Recording(events())


PICTURE, MOMENT, FAILURE = (Told(kind.name.encode(), kind) for kind in (Kind.PICTURE, Kind.MOMENT, Kind.FAILURE))


class TestRecording:
    async def test_listeners(self) -> None:
        """The first hears all of it; who comes later, before the end or after it, the pictures."""
        go = asyncio.Event()
        whole = recording(MOMENT, PICTURE, MOMENT, PICTURE, until=go)
        first, during = whole.first(), whole.again()
        assert [await anext(first) for _ in range(4)] == [b"MOMENT", b"PICTURE"] * 2
        assert [await anext(during), await anext(during)] == [b"PICTURE"] * 2
        go.set()
        assert [data async for data in first] == [data async for data in during] == []
        assert [data async for data in whole.again()] == [b"PICTURE"] * 2
        assert len(whole) == 2 * len(b"PICTURE")

    async def test_slow(self) -> None:
        """Who doesn't read misses what is of the moment, so that no memory fills with it."""
        go = asyncio.Event()
        whole = recording(PICTURE, *[MOMENT] * 100, PICTURE, until=go)
        heard = whole.first()
        assert await anext(heard) == b"PICTURE"
        go.set()
        await whole.rest
        *moments, last = [data async for data in heard]
        assert len(moments) <= 4
        assert last == b"PICTURE"

    async def test_nobody(self) -> None:
        """Of what nobody heard only the pictures are kept."""
        whole = recording(MOMENT, PICTURE)
        await whole.rest
        assert [data async for data in whole.first()] == [b"PICTURE"]

    async def test_failure(self) -> None:
        """All hear of a failure, also who comes before it is forgotten."""
        whole = recording(PICTURE, FAILURE)
        with pytest.raises(BrokenOff):
            await whole.rest
        assert [data async for data in whole.first()] == [data async for data in whole.again()]
        assert [data async for data in whole.again()] == [b"PICTURE", b"FAILURE"]

    async def test_leaving(self) -> None:
        """Who stops listening is forgotten."""
        go = asyncio.Event()
        whole = recording(PICTURE, until=go)
        leaving = whole.again()
        await anext(leaving)
        await leaving.aclose()
        assert not whole._again
        go.set()
        await whole.rest

    async def test_room(self) -> None:
        """A stream counts when it has ended, with what is kept of it, and makes room as others do."""
        repeats, go = Repeats(100, capacity=2 * ENTRY + 10), asyncio.Event()

        async def begin() -> Reply:
            return Reply(recording(MOMENT, PICTURE, until=go), {})

        async def other() -> Reply:
            return Reply(Body([bytes(4)]), {})

        await repeats.once("stream", b"", begin)
        await repeats.once("a", b"", other)
        assert set(repeats._kept) == {"stream", "a"}
        go.set()
        await asyncio.sleep(0.01)
        assert set(repeats._kept) == {"a"}
