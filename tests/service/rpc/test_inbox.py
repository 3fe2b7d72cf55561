"""The inbox of messages: few calls are received at once, and a stalled one does not block the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.support.service.rpc_errors import status_of
from tintype.service.errors import InvalidField, QueueFull
from tintype.service.rpc.inbox import MAX_WAITING, Inbox
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

METHOD = "/tintype.v1.ImageService/ListModels"


async def one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def none() -> AsyncIterator[bytes]:
    for data in tuple[bytes, ...]():
        yield data


def test_message_is_received() -> None:
    """A message is returned unchanged and its place is free again; a call without a message is an error."""

    async def scenario() -> None:
        inbox = Inbox(most=1)
        assert [await inbox.message(one(data)) for data in (b"a", b"", b"b" * 9)] == [b"a", b"", b"b" * 9]
        with pytest.raises(InvalidField, match="request: must be one message"):
            await inbox.message(none())
        assert inbox.receiving == 0

    asyncio.run(scenario())


def test_number_of_concurrent_messages() -> None:
    """At most `most` messages are received at once; other calls wait in order."""

    async def scenario() -> None:
        inbox, gates, begun = Inbox(most=2), [asyncio.Event() for _ in range(5)], asyncio.Queue[int]()

        async def gated(number: int) -> AsyncIterator[bytes]:
            begun.put_nowait(number)
            await gates[number].wait()
            yield bytes([number])

        calls = [asyncio.create_task(inbox.message(gated(number))) for number in range(5)]
        for number in range(5):
            assert await begun.get() == number
            assert inbox.receiving <= 2
            gates[number].set()
            assert await calls[number] == bytes([number])

    asyncio.run(scenario())


def test_stalled_message_loses_its_place() -> None:
    """A stalled message loses its place to a waiting call, or after the maximum time; cancelling frees a place."""

    async def scenario() -> None:
        inbox = Inbox(most=2, least=0.0)
        stuck = [asyncio.create_task(inbox.message(never())) for _ in range(2)]
        await asyncio.sleep(0)
        assert await inbox.message(one(b"a")) == b"a"
        with pytest.raises(QueueFull, match="did not arrive in time"):
            await stuck[0]
        assert inbox.receiving == 1
        stuck[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck[1]
        assert inbox.receiving == 0
        with pytest.raises(QueueFull):
            await Inbox(longest=0.0).message(never())

    asyncio.run(scenario())


def test_too_many_waiting_calls_are_refused() -> None:
    """A call beyond the limit is refused, and the others keep their turn."""

    async def scenario() -> None:
        inbox = Inbox(most=1)
        calls = [asyncio.create_task(inbox.message(never())) for _ in range(MAX_WAITING + 1)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="too many messages"):
            await inbox.message(one(b"a"))
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert await inbox.message(one(b"a")) == b"a"

    asyncio.run(scenario())


def test_cancelled_waiting_call_frees_its_turn() -> None:
    """A call that is cancelled while it waits does not block the next call."""

    async def scenario() -> None:
        inbox = Inbox(most=1)
        gate = asyncio.Event()

        async def gated() -> AsyncIterator[bytes]:
            await gate.wait()
            yield b"a"

        first, second = (asyncio.create_task(inbox.message(gated())) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second.cancel()
        third = asyncio.create_task(inbox.message(one(b"c")))
        gate.set()
        assert [await first, await third] == [b"a", b"c"]

    asyncio.run(scenario())


def test_refused_call_is_not_read(running: Any, tmp_path: Path) -> None:
    """A call without a key is refused before its message is read."""
    create(tmp_path / "keys", "alice")

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:
            call = here.channel.stream_unary(METHOD)()
            try:
                await call
            except grpc.aio.AioRpcError as error:
                return error.code(), status_of(error)[1]["ErrorInfo"].reason
        return None

    assert asyncio.run(scenario()) == (grpc.StatusCode.UNAUTHENTICATED, "NO_KEY")


def test_call_without_a_message(running: Any, tmp_path: Path) -> None:
    """A call without a message is INVALID_ARGUMENT."""

    async def scenario() -> Any:
        async with running(data=tmp_path) as here:
            call = here.channel.stream_unary(METHOD)()
            await call.done_writing()
            try:
                await call
            except grpc.aio.AioRpcError as error:
                return error.code(), error.details()
        return None

    code, details = asyncio.run(scenario())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "must be one message" in details
