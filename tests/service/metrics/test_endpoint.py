"""The address of the metrics: responses, keys, and clients that misbehave."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from tintype.service.config import ServiceConfig
from tintype.service.metrics import endpoint
from tintype.service.metrics.endpoint import MAX_CONNECTIONS, MAX_HEAD, serve_metrics
from tintype.service.rpc.listen import ServeError
from tintype.v1.keyfile import KeysError
from tintype.v1.keys import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def one_line() -> bytes:
    return b"up 1\n"


@asynccontextmanager
async def serving(data: Path, api_key: str = "") -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    keys = Keys(data / "keys", optional=True, api_key=api_key)
    async with serve_metrics("127.0.0.1:0", keys, one_line) as url, httpx.AsyncClient() as client:
        yield client, url


async def raw(url: str, request: bytes) -> bytes:
    """Send bytes and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
    writer.write(request)
    response = await reader.read()
    writer.close()
    return response


async def test_responses(tmp_path: Path) -> None:
    """GET and HEAD of /metrics are answered, everything else has a status that says what is wrong."""
    async with serving(tmp_path) as (client, url):
        answer = await client.get(url)
        assert (answer.status_code, answer.text) == (200, "up 1\n")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert (await client.get(f"{url}?name=x")).status_code == 200
        assert (await client.head(url)).text == ""
        assert (await client.get(url.replace("/metrics", "/"))).status_code == 404
        assert (await client.post(url)).status_code == 405
        for bad in (b"\r\n\r\n", b"GET /metrics\r\n\r\n", b"GET /metrics SPDY/3\r\n\r\n", b"x" * (MAX_HEAD + 9)):
            assert (await raw(url, bad)).startswith(b"HTTP/1.1 400 "), bad[:20]


async def test_a_key_is_required_where_the_service_requires_one(tmp_path: Path) -> None:
    """Without a key, or with a wrong one, the metrics are not sent: they name the models."""
    async with serving(tmp_path, api_key="secret") as (client, url):
        for headers in ({}, {"authorization": "Bearer wrong"}):
            refused = await client.get(url, headers=headers)
            assert (refused.status_code, "up" in refused.text) == (401, False)
            assert refused.headers["www-authenticate"].startswith("Bearer")
        assert (await client.get(url, headers={"authorization": "Bearer secret"})).text == "up 1\n"


async def test_a_failure_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the metrics can't be collected, the status is 500 and the log has the reason."""

    async def fail() -> bytes:
        raise RuntimeError("no device")

    keys = Keys(tmp_path / "keys", optional=True)
    async with serve_metrics("127.0.0.1:0", keys, fail) as url, httpx.AsyncClient() as client:
        assert (await client.get(url)).status_code == 500
    assert "no device" in caplog.text


async def test_slow_clients_are_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends no request is disconnected; while many wait, the oldest makes room for the next."""
    async with serving(tmp_path) as (client, url):
        waiting = [await asyncio.open_connection("127.0.0.1", httpx.URL(url).port) for _ in range(MAX_CONNECTIONS)]
        assert (await client.get(url)).status_code == 200
        assert await waiting[0][0].read() == b""
        assert not waiting[-1][0].at_eof()
        for _, writer in waiting:
            writer.close()
        monkeypatch.setattr(endpoint, "TIMEOUT", 0.05)
        assert await raw(url, b"GET /metrics") == b""
        assert (await client.get(url)).status_code == 200


async def test_clients_that_read_nothing_are_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that is not read is given up, with its memory."""

    async def large() -> bytes:
        return bytes(2**25)

    monkeypatch.setattr(endpoint, "TIMEOUT", 0.2)
    async with serve_metrics("127.0.0.1:0", Keys(tmp_path / "keys", optional=True), large) as url:
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as client:
            client.setblocking(False)  # noqa: FBT003
            client.send(b"GET /metrics HTTP/1.1\r\n\r\n")
            await asyncio.sleep(0.5)
            received = 0
            with suppress(ConnectionError):
                while piece := await asyncio.get_running_loop().sock_recv(client, 2**20):
                    received += len(piece)
            assert received < 2**25


async def test_ends_with_open_connections(tmp_path: Path) -> None:
    """The server ends although a client is connected, and its port is free again."""
    async with serving(tmp_path) as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        await asyncio.sleep(0)
    assert await reader.read() == b""
    writer.close()
    with socket.create_server(("127.0.0.1", httpx.URL(url).port or 0)):
        pass


async def test_an_address_in_use_is_one_line(tmp_path: Path) -> None:
    """The error names the address, the reason and the setting."""
    async with serving(tmp_path) as (_, url):
        address = url.removeprefix("http://").removesuffix("/metrics")
        with pytest.raises(ServeError, match=rf"^cannot listen on {address}: .* in use; choose .* --metrics$"):
            async with serve_metrics(address, Keys(tmp_path / "keys", optional=True), one_line):
                pass


@pytest.mark.parametrize("address", ["9464", "x:y", "127.0.0.1:70000", ":9464"])
async def test_wrong_addresses_are_refused(address: str) -> None:
    """An address without host or with an impossible port is refused by the settings."""
    with pytest.raises(ValueError, match=r"--metrics must be HOST:PORT, for example 127.0.0.1:9464; got"):
        ServiceConfig(metrics=address)


async def test_other_machines_need_a_key(tmp_path: Path) -> None:
    """An address that other machines reach requires keys, or that --anonymous allows access."""
    with pytest.raises(KeysError, match=r"refusing to listen on 0.0.0.0:9464"):
        ServiceConfig(metrics="0.0.0.0:9464", data=tmp_path).check_access()
    ServiceConfig(metrics="0.0.0.0:9464", data=tmp_path, anonymous=True).check_access()
    ServiceConfig(metrics="0.0.0.0:9464", data=tmp_path, api_key="x").check_access()
