"""Requests that never arrive: endless heads, missing bodies, and bodies that no handler reads."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.fakes import PATH, FakeService, Service, config, running_gateway
from tintype.gateway.http.body_limits import MIN_RATE
from tintype.gateway.http.receive_timeout import TimedTransport
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TIMEOUT = 30.0  # seconds in which things that take a fraction of one must have happened, on a busy machine
RECEIVE_TIMEOUT = 1.0  # seconds
HEAD = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"


@pytest.fixture
async def address(service: Service, tmp_path: Path) -> AsyncIterator[tuple[str, int]]:
    """Return a gateway with a short time limit."""
    async with running_gateway(config(service, tmp_path, receive_timeout=RECEIVE_TIMEOUT)) as client:
        yield address_of(client)


def address_of(client: httpx.AsyncClient) -> tuple[str, int]:
    assert client.base_url.port
    return client.base_url.host, client.base_url.port


async def send_slowly(address: tuple[str, int], begin: str, repeated: str) -> bytes:
    """Return the response to a client that begins and then sends single bytes slowly."""
    reader, writer = await asyncio.open_connection(*address)

    async def send() -> None:
        writer.write(begin.encode())
        while repeated:
            writer.write(repeated.encode())
            await asyncio.sleep(0.05)

    sending, answer = asyncio.create_task(send()), b""
    try:
        async with asyncio.timeout(TIMEOUT):
            # Piece by piece: what came before a reset would else be lost with it.
            while piece := await reader.read(2**16):
                answer += piece
    except ConnectionResetError:
        pass
    finally:
        sending.cancel()
        writer.close()
    return answer


@pytest.mark.parametrize(
    ("begin", "repeated"),
    [
        ("", ""),
        ("", "\r\n"),
        ("POST /v1/im", ""),
        ("POST /v1/im", "x"),
        (f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nx-slow: ", "x"),
    ],
)
async def test_endless_heads_close_the_connection(address: tuple[str, int], begin: str, repeated: str) -> None:
    """A connection whose head does not end is closed, whether nothing or single bytes arrive."""
    assert await send_slowly(address, begin, repeated) == b""


@pytest.mark.parametrize("repeated", ["", " "])
async def test_missing_bodies_give_408(address: tuple[str, int], fake: FakeService, repeated: str) -> None:
    """A body that does not arrive gives 408 in the vendor's format, and the connection is closed."""
    answer = await send_slowly(address, HEAD, repeated)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "did not arrive within 1 s" in error["message"]
    assert not fake.requests


@pytest.mark.parametrize("path", [PATH, "/v1/images/edits", "/sdapi/v1/txt2img"])
async def test_broken_off_bodies_are_not_server_errors(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """A client that disconnects while it sends is not counted or logged as a server error."""
    caplog.set_level(logging.INFO)
    async with running_gateway(config(service, tmp_path)) as client:
        _, writer = await asyncio.open_connection(*address_of(client))
        writer.write(HEAD.replace(PATH, path).encode() + b'{"prompt": "')
        await writer.drain()
        writer.close()
        async with asyncio.timeout(TIMEOUT):
            while f"path={path} status=499 error=CLIENT_GONE" not in caplog.text:  # noqa: ASYNC110 - the log can't call us
                await asyncio.sleep(0.02)
        assert 'status="500"' not in (await client.get("/metrics")).text


async def test_unread_bodies_do_not_keep_the_connection(service: Service, tmp_path: Path) -> None:
    """A client that is refused before its body was read can't keep the connection open."""
    create(tmp_path / "keys", "me")
    async with running_gateway(config(service, tmp_path, receive_timeout=RECEIVE_TIMEOUT)) as client:
        answer = await send_slowly(address_of(client), HEAD, " ")
    assert answer.startswith(b"HTTP/1.1 401")


async def test_the_limit_applies_to_the_second_request(address: tuple[str, int]) -> None:
    """The limit also applies to the second request of a connection."""
    answer = await send_slowly(address, "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\nGET /liv", "x")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_generation_may_take_longer(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """The limit does not apply to the time of generating images."""
    proceed = asyncio.Event()
    normal = fake.behave

    async def wait(request: object, context: object) -> object:
        await asyncio.wait_for(proceed.wait(), TIMEOUT)
        async for event in normal(request, context):  # type: ignore[arg-type]
            yield event

    fake.behave = wait  # type: ignore[assignment]
    async with running_gateway(config(service, tmp_path, receive_timeout=RECEIVE_TIMEOUT)) as client:
        post = asyncio.create_task(client.post(PATH, json={"prompt": "x"}))
        await fake.started.wait()
        await asyncio.sleep(1.5 * RECEIVE_TIMEOUT)
        proceed.set()
        assert (await post).status_code == 200


@pytest.mark.parametrize(("rest", "delays"), [(0, []), (10 * MIN_RATE, [RECEIVE_TIMEOUT + 10])])
async def test_closing_connections_have_time_for_the_response(rest: int, delays: list[float]) -> None:
    """A closing connection has as much time for the rest of its response as an open one."""
    delays_of_timers: list[float] = []
    inner = SimpleNamespace(is_closing=bool, get_write_buffer_size=lambda: rest, close=bool, abort=bool)
    loop = SimpleNamespace(call_later=lambda seconds, _: delays_of_timers.append(seconds))
    TimedTransport(inner, SimpleNamespace(loop=loop, seconds=RECEIVE_TIMEOUT, has_unread_body=bool)).close()  # type: ignore[arg-type]
    assert delays_of_timers == delays
