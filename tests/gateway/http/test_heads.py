"""Heads of requests that are too large or never end: their connection is closed, others are not affected."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.fakes import PATH
from tintype.gateway.http.uvicorn_protocol import MAX_HEAD

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx

    from tests.support.gateway.fakes import FakeService

pytestmark = pytest.mark.anyio

TIMEOUT = 30.0  # seconds in which things that take a fraction of one must have happened, on a busy machine
PIECE = 2**14
ENDLESS = 2**21
BODY = b'{"prompt": "x"}'
POST = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".encode()
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"


async def send_all(gateway: httpx.AsyncClient, pieces: Iterable[bytes]) -> tuple[bytes, int]:
    """Return the response to these pieces, and the number of bytes that were accepted."""
    reader, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
    reading, accepted = asyncio.create_task(reader.read()), 0
    try:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                accepted += len(piece)
                await asyncio.sleep(0.005)
            return await asyncio.wait_for(reading, TIMEOUT), accepted
        return b"", accepted
    finally:
        reading.cancel()
        writer.close()


def endless_head(start: bytes, repeated: bytes) -> Iterable[bytes]:
    """Yield several times the limit of a head."""
    yield start
    for _ in range(ENDLESS // PIECE):
        yield repeated * (PIECE // len(repeated))


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"GET /", b"x"),
        (b"GET / HTTP/1.1\r\nx-long: ", b"x"),
        (b"GET / HTTP/1.1\r\n", b"x: y\r\n"),
        (b"GET / HTTP/1.1\r\n", b"x" * 16),
        (b"", b"\r\n"),
        (b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\nGET / HTTP/1.1\r\nx-long: ", b"x"),
        (CHUNKED + b"0\r\n", b"x: y\r\n"),
        (CHUNKED + b"0\r\nx: ", b"y"),
        (CHUNKED + b"1;", b"x"),
    ],
    ids=["url", "value", "many", "name", "nothing", "second", "trailers", "trailer", "extension"],
)
async def test_endless_heads_close_the_connection(
    gateway: httpx.AsyncClient, fake: FakeService, start: bytes, repeated: bytes
) -> None:
    """The connection is closed soon after the limit, whether before, after or within a body."""
    assert (await send_all(gateway, endless_head(start, repeated)))[1] < ENDLESS // 2
    assert not fake.requests


async def test_too_large_heads_give_431(gateway: httpx.AsyncClient) -> None:
    """A client that reads meanwhile gets 431, in JSON."""
    response, _ = await send_all(gateway, [b"GET / HTTP/1.1\r\nx: ", *[b"y" * PIECE] * (MAX_HEAD // PIECE + 1)])
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert (set(error), error["type"]) == ({"message", "type", "param", "code"}, "invalid_request_error")


async def test_half_the_limit_is_accepted(gateway: httpx.AsyncClient) -> None:
    """Half of the limit is enough for any cookies and key; bodies may arrive in the smallest pieces."""
    longer = await gateway.get("/livez", headers={"cookie": "x" * (MAX_HEAD // 2)})
    assert longer.status_code == 200
    padded = BODY + b" " * 30_000
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in padded)
    assert len(chunks) > 2 * MAX_HEAD
    response, _ = await send_all(
        gateway, [CHUNKED.replace(b"host:", b"connection: close\r\nhost:") + chunks + b"0\r\n\r\n"]
    )
    assert response.startswith(b"HTTP/1.1 200 ")
