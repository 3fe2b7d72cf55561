"""A stream with several readers: immediate, late, slow, or none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tintype.gateway.http.response_body import JsonBody
from tintype.gateway.requests.idempotency import ENTRY_OVERHEAD, IdempotencyCache
from tintype.gateway.requests.replay_buffer import EventKind, ReplayBuffer, StreamEvent, StreamFailure
from tintype.gateway.requests.reply import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


def buffer_of(*buffered: StreamEvent, until: asyncio.Event | None = None) -> ReplayBuffer:
    """Return a buffer of these events, which then waits for `until`."""

    async def events() -> AsyncGenerator[StreamEvent]:
        for event in buffered:
            yield event
        if until is not None:
            await until.wait()

    return ReplayBuffer(events())


IMAGE, TRANSIENT, FAILURE = (
    StreamEvent(kind.name.encode(), kind) for kind in (EventKind.IMAGE, EventKind.TRANSIENT, EventKind.FAILURE)
)


class TestRecording:
    async def test_live_readers_get_all_events_and_others_the_images(self) -> None:
        """The first reader gets all events; later readers, before or after the end, get the images."""
        proceed = asyncio.Event()
        buffer = buffer_of(TRANSIENT, IMAGE, TRANSIENT, IMAGE, until=proceed)
        first, during = buffer.live(), buffer.replay()
        assert [await anext(first) for _ in range(4)] == [b"TRANSIENT", b"IMAGE"] * 2
        assert [await anext(during), await anext(during)] == [b"IMAGE"] * 2
        proceed.set()
        assert [data async for data in first] == [data async for data in during] == []
        assert [data async for data in buffer.replay()] == [b"IMAGE"] * 2
        assert len(buffer) == 2 * len(b"IMAGE")

    async def test_slow_readers_miss_transient_events(self) -> None:
        """A slow reader misses transient events, so they do not fill the memory."""
        proceed = asyncio.Event()
        buffer = buffer_of(IMAGE, *[TRANSIENT] * 100, IMAGE, until=proceed)
        reader = buffer.live()
        assert await anext(reader) == b"IMAGE"
        proceed.set()
        await buffer.task
        *transient_events, last = [data async for data in reader]
        assert len(transient_events) <= 4
        assert last == b"IMAGE"

    async def test_without_a_reader_only_images_are_kept(self) -> None:
        """Without a reader only the images are kept."""
        buffer = buffer_of(TRANSIENT, IMAGE)
        await buffer.task
        assert [data async for data in buffer.live()] == [b"IMAGE"]

    async def test_all_readers_get_a_failure(self) -> None:
        """All readers get a failure, including one that comes before it is dropped."""
        buffer = buffer_of(IMAGE, FAILURE)
        with pytest.raises(StreamFailure):
            await buffer.task
        assert [data async for data in buffer.live()] == [data async for data in buffer.replay()]
        assert [data async for data in buffer.replay()] == [b"IMAGE", b"FAILURE"]

    async def test_readers_that_stop_are_dropped(self) -> None:
        """A reader that stops is dropped."""
        proceed = asyncio.Event()
        buffer = buffer_of(IMAGE, until=proceed)
        reader = buffer.replay()
        await anext(reader)
        await reader.aclose()
        assert not buffer._replay_queues
        proceed.set()
        await buffer.task

    async def test_an_ended_stream_counts_with_its_bytes(self) -> None:
        """An ended stream counts with its kept bytes, and is dropped like other entries."""
        cache, proceed = IdempotencyCache(100, capacity=2 * ENTRY_OVERHEAD + 10), asyncio.Event()
        buffer = buffer_of(TRANSIENT, IMAGE, until=proceed)

        async def begin() -> Reply:
            return Reply(buffer, {})

        async def other() -> Reply:
            return Reply(JsonBody([bytes(6)]), {})

        await cache.get_or_run("stream", b"", begin)
        await cache.get_or_run("a", b"", other)
        assert set(cache._entries) == {"stream", "a"}
        proceed.set()
        await buffer.task
        await asyncio.sleep(0)  # now the callbacks of the task run
        assert set(cache._entries) == {"a"}
