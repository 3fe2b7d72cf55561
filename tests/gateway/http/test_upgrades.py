"""Requests that offer another protocol are answered as if they did not."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.fakes import PATH
from tintype.gateway.http.uvicorn_protocol import MAX_HEAD

if TYPE_CHECKING:
    import httpx

    from tests.support.gateway.fakes import FakeService

pytestmark = pytest.mark.anyio

OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
POST = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".encode() + OFFER
BODY = b'{"prompt": "x"}'
WITH_LENGTH = POST + b"content-length: %d\r\n\r\n" % len(BODY)
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
GET = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"
LAST = GET + b"connection: close\r\n\r\n"


async def statuses(gateway: httpx.AsyncClient, *pieces: bytes) -> list[int]:
    """Return the status of each response to these pieces."""
    reader, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
    response = b""
    try:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.02)
            response = await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", response)]


@pytest.mark.parametrize(
    "pieces",
    [
        (WITH_LENGTH + BODY,),
        (WITH_LENGTH, BODY),
        (WITH_LENGTH[:90], WITH_LENGTH[90:] + BODY[:4], BODY[4:]),
        (CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),),
        (CHUNKED, b"%x\r\n" % len(BODY), BODY, b"\r\n0\r\n\r\n"),
    ],
    ids=["at once", "in two", "in three", "chunked", "chunks"],
)
async def test_bodies_after_an_offer_are_read(
    gateway: httpx.AsyncClient, fake: FakeService, pieces: tuple[bytes, ...]
) -> None:
    """The body is read, however it arrives, and the connection stays open, as Java's own client expects."""
    assert await statuses(gateway, *pieces, LAST) == [200, 200]
    assert [request.prompt for request in fake.requests] == ["x"]


async def test_many_offers_are_ignored(gateway: httpx.AsyncClient) -> None:
    """Offers are ignored in requests without a body, and in many pipelined ones."""
    assert await statuses(gateway, (GET + OFFER + b"\r\n") * 2000 + LAST) == [200] * 2001


async def test_the_head_limit_applies_after_an_offer(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """The limit of the head also applies after an offer."""
    assert 200 not in await statuses(gateway, CHUNKED + b"0\r\n", *[b"x: y\r\n" * 1000] * (MAX_HEAD // 3000))
    assert not fake.requests


async def test_tunnels_are_refused(gateway: httpx.AsyncClient) -> None:
    """A request for a tunnel is refused."""
    assert await statuses(
        gateway, b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    ) == [400]
