"""Connections: their number, their lifetime, and half-closed ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h11
import httpx
import pytest

from tests.support.gateway.fakes import (
    PATH,
    PNG,
    FakeService,
    Service,
    config,
    image,
    running_gateway,
    sleep_long,
)
from tests.support.gateway.starting import SCRIPT
from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import StartError
from tintype.gateway.http import connections
from tintype.gateway.http.connections import connection_limit
from tintype.gateway.server import backlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TIMEOUT = 60.0  # seconds in which things that take a fraction of one must have happened, on a busy machine
BODY = b'{"prompt": "x", "response_format": "b64_json"}'
HEAD = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".encode()
POST = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
GET = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def open_connections(client: httpx.AsyncClient, count: int) -> AsyncIterator[list[Streams]]:
    """Open connections without a request."""
    address = client.base_url.host, client.base_url.port
    streams = [await asyncio.open_connection(*address) for _ in range(count)]
    try:
        yield streams
    finally:
        for _, writer in streams:
            writer.close()


async def read_rest(reader: asyncio.StreamReader) -> bytes:
    """Read to the end of a connection, however it ends."""
    response = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(TIMEOUT):
            while piece := await reader.read(2**16):
                response += piece
    return response


class TestKeepAlive:
    async def test_idle_connections_close_after_the_configured_time(self, service: Service, tmp_path: Path) -> None:
        """An idle connection is closed after the configured time, and serves until then."""
        async with (
            running_gateway(config(service, tmp_path, keep_alive=2.0)) as client,
            open_connections(client, 1) as streams,
        ):
            reader, writer = streams[0]
            for _ in range(2):
                writer.write(GET)
                await reader.readuntil(b'"alive"}')
            assert await read_rest(reader) == b""

    def test_default_keep_alive_exceeds_that_of_proxies(self) -> None:
        """By default, connections stay open longer than those of most proxies, which is a minute."""
        assert GatewayConfig().keep_alive == 75

    async def test_keep_alive_default_is_passed_to_uvicorn(
        self, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The time is the configured one."""
        wait: list[float] = []
        async with running_gateway(config(service, tmp_path)) as client:
            loop = asyncio.get_running_loop()
            call_later = loop.call_later

            def record_delay(delay: float, callback: Any, *args: Any, **more: Any) -> asyncio.TimerHandle:
                if getattr(callback, "__name__", "") == "timeout_keep_alive_handler":
                    wait.append(delay)
                return call_later(delay, callback, *args, **more)

            monkeypatch.setattr(loop, "call_later", record_delay, raising=False)
            await client.get("/livez")
            monkeypatch.undo()
        assert wait == [75.0]


class TestLimit:
    async def test_longest_idle_connections_close_above_the_limit(self, service: Service, tmp_path: Path) -> None:
        """Above the limit the connections that have been idle the longest are closed; all others are served."""
        async with running_gateway(config(service, tmp_path, max_connections=20)) as client:
            async with open_connections(client, 60) as streams:
                assert (await client.get("/livez")).status_code == 200
                assert (await client.post(PATH, json={"prompt": "x"})).status_code == 200
                assert [await read_rest(reader) for reader, _ in streams[:40]] == [b""] * 40
                reader, writer = streams[-1]
                writer.write(GET)
                assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
            assert (await client.get("/livez")).status_code == 200

    async def test_busy_connections_stay_open_above_the_limit(
        self, service: Service, fake: FakeService, tmp_path: Path
    ) -> None:
        """If all connections have a request, a new one gets 503; health probes are still answered."""
        fake.behave = sleep_long
        async with running_gateway(config(service, tmp_path, max_connections=4, grace=0.0)) as client:
            async with open_connections(client, 4) as streams:
                for _, writer in streams:
                    writer.write(POST)
                while len(fake.requests) < 4:  # noqa: ASYNC110 - the service can't call us
                    await asyncio.sleep(0.01)
                for path, status in ((PATH, 503), ("/livez", 200), ("/readyz", 200), ("/v1/models", 503)):
                    async with httpx.AsyncClient(base_url=client.base_url, trust_env=False) as other:
                        answer = await other.request("POST" if path == PATH else "GET", path, json={"prompt": "x"})
                    assert answer.status_code == status, path
                    assert status == 200 or answer.json()["error"]["type"] == "server_error"
                assert len(fake.requests) == 4
            fake.reset()

    def test_the_longest_idle_connection_closes_first(self) -> None:
        """The connection that has been idle the longest is closed first."""
        registry = connections.Connections(2)
        first, second, third, fourth = fake_connections()
        assert all(registry.add(connection) for connection in (first, second))
        registry.mark_busy(first)
        registry.mark_idle(first)  # now the second is idle for the longest
        assert registry.add(third)
        assert [connection.aborted for connection in (first, second, third)] == [False, True, False]
        registry.mark_busy(first)
        registry.mark_busy(third)
        assert not registry.add(fourth)
        registry.remove(third)
        registry.mark_idle(third)  # it has gone
        assert registry.add(second)

    def test_default_limit_leaves_spare_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The limit leaves files for other uses and for connections that are not accepted yet."""
        for files, most in ((0, 4096), (2**20, 4096), (4096, 3040), (1024, 736), (64, 16)):
            monkeypatch.setattr(connections, "open_file_limit", lambda files=files: files)
            assert connection_limit(GatewayConfig()) == most
            assert most + backlog(most) < (files or 10**9) or files < 100

    def test_a_limit_above_the_systems_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A configured limit above the system's is refused at start."""
        monkeypatch.setattr(connections, "open_file_limit", lambda: 1024)
        with pytest.raises(StartError, match=r"must be at most 736 where .* 1024 files, not 1000: raise"):
            connection_limit(GatewayConfig(max_connections=1000))


def fake_connections() -> list[Any]:
    """Return four stand-ins of connections, as `Connections` uses them."""
    return [FakeConnection() for _ in range(4)]


class FakeConnection:
    """A stand-in of a connection, as `Connections` uses it."""

    def __init__(self) -> None:
        self.transport = self
        self.aborted = False

    def __hash__(self) -> int:
        return id(self)

    def abort(self) -> None:
        self.aborted = True


@contextlib.contextmanager
def process_with_limits(data: Path, soft: int, hard: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the process of a gateway with these limits of open files, and its URL."""
    limits = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
    command = [sys.executable, "-c", limits + SCRIPT, str(data), "127.0.0.1:1", "{}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
class TestOpenFiles:
    def test_soft_file_limit_is_raised_at_start(self, tmp_path: Path) -> None:
        """The soft limit of open files is raised to the hard one at start."""
        if not Path("/proc/self/limits").exists():
            pytest.skip("there is no /proc")
        with process_with_limits(tmp_path, 256, 512) as (process, _):
            limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert re.search(r"Max open files\s+512\s+512", limits)

    def test_more_connections_than_files(self, tmp_path: Path) -> None:
        """With more idle connections than files the gateway still answers, during and after them."""
        with process_with_limits(tmp_path, 256, 256) as (_, url), contextlib.ExitStack() as stack:
            address = url.removeprefix("http://").split(":")
            for _ in range(400):
                stack.enter_context(socket.create_connection((address[0], int(address[1])), timeout=TIMEOUT))
            for _ in range(3):
                assert httpx.get(f"{url}/livez", timeout=TIMEOUT, trust_env=False).status_code == 200


class TestHalfClosed:
    @pytest.mark.parametrize("wait", [0.0, 1.0])
    @pytest.mark.parametrize(
        ("request_", "last"),
        [
            (POST, b"}"),
            (GET, b'"alive"}'),
            (HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), b"}"),
            (POST.replace(b"HTTP/1.1", b"HTTP/1.0"), b"}"),
            (POST.replace(b"content-length", b"expect: 100-continue\r\ncontent-length"), b"}"),
        ],
        ids=["json", "get", "chunked", "1.0", "continue"],
    )
    async def test_half_closed_client_gets_the_response(
        self, gateway: httpx.AsyncClient, fake: FakeService, request_: bytes, last: bytes, wait: float
    ) -> None:
        """A client that closes its half after the request gets the whole response, early or late, then the end."""
        behave = fake.behave

        async def delayed(request: Any, context: Any) -> Any:
            await asyncio.sleep(wait)
            async for event in behave(request, context):
                yield event

        fake.behave = delayed
        response = await half_close(gateway, request_)
        response = response.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        head, _, body = response.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert body.endswith(last)
        assert int(re.search(rb"content-length: (\d+)", head)[1]) == len(body)  # type: ignore[index]

    async def test_half_closed_client_gets_the_stream(self, gateway: httpx.AsyncClient) -> None:
        """A half-closed client gets a stream to its end."""
        body = b'{"prompt": "x", "stream": true}'
        response = await half_close(gateway, HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert b"data: [DONE]" in response
        assert response.endswith(b"0\r\n\r\n")

    async def test_only_the_first_bytes_are_sent_early(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """While a response is prepared, only its first letters are sent early, one by one; the rest follows."""
        proceed = asyncio.Event()

        async def wait(request: Any, context: Any) -> Any:
            await proceed.wait()
            async for event in behave(request, context):
                yield event

        behave, fake.behave = fake.behave, wait
        async with open_connections(gateway, 1) as [(reader, writer)]:
            writer.write(POST)
            writer.write_eof()
            async with asyncio.timeout(TIMEOUT):
                assert await reader.readexactly(3) == b"HTT"
            proceed.set()
            assert (await read_rest(reader)).startswith(b"P/1.1 200 OK\r\n")

    async def test_pipelined_requests_are_answered_in_order(self, gateway: httpx.AsyncClient) -> None:
        """All complete requests are answered, in order."""
        response = await half_close(gateway, GET + POST + GET)
        assert re.findall(rb"HTTP/1\.1 (\d+)", response) == [b"200"] * 3
        assert response.index(b"b64_json") < response.rindex(b"alive")

    @pytest.mark.parametrize("incomplete", [b"", GET[:20], POST[:-5], HEAD], ids=["nothing", "line", "body", "head"])
    async def test_incomplete_requests_get_no_response(
        self, gateway: httpx.AsyncClient, fake: FakeService, incomplete: bytes
    ) -> None:
        """An incomplete request gets no response, and its connection is closed."""
        assert await half_close(gateway, incomplete) == b""
        assert not fake.requests

    @pytest.mark.parametrize("stream", [False, True])
    async def test_disconnected_clients_are_detected(
        self,
        gateway: httpx.AsyncClient,
        fake: FakeService,
        stream: bool,  # noqa: FBT001
    ) -> None:
        """A client that has disconnected completely is detected before the timeout, and its work is cancelled."""
        fake.behave = sleep_long
        body = b'{"prompt": "x", "stream": true}' if stream else BODY
        async with open_connections(gateway, 1) as [(reader, writer)]:
            writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
            await asyncio.wait_for(fake.started.wait(), TIMEOUT)
            if stream:
                await reader.readuntil(b"\r\n\r\n")
        await asyncio.wait_for(fake.cancelled.wait(), 8)  # less than the silence before a comment

    async def test_early_bytes_do_not_change_a_stream(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Bytes sent early within a stream do not change it, as an independent HTTP parser confirms."""

        async def delayed(request: Any, context: Any) -> Any:
            async for event in behave(request, context):
                yield event
                await asyncio.sleep(0.6)

        behave, fake.behave = fake.behave, delayed
        body = b'{"prompt": "x", "stream": true}'
        response = await half_close(gateway, HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert b"\r\n\r\n0" in response
        peer = h11.Connection(h11.CLIENT)
        peer.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
        peer.send(h11.EndOfMessage())
        peer.receive_data(response)
        events: list[Any] = []
        while not events or not isinstance(events[-1], h11.EndOfMessage):
            events.append(peer.next_event())
        data = b"".join(event.data for event in events if isinstance(event, h11.Data))
        assert data.startswith(b"event: ")
        assert data.endswith(b"data: [DONE]\n\n")


async def half_close(client: httpx.AsyncClient, sent: bytes) -> bytes:
    """Return the response to a client that closes its half at once."""
    async with open_connections(client, 1) as [(reader, writer)]:
        writer.write(sent)
        writer.write_eof()
        return await read_rest(reader)


class TestSlowReaders:
    COUNT, SIZE = 10, 1_500_000

    @pytest.fixture
    async def client(self, service: Service, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
        """Return a gateway with a short time limit, whose service returns large images."""

        async def large(request: Any, context: Any) -> AsyncIterator[Any]:
            async for event in behave(request, context):
                if event.HasField("image"):
                    yield image(event.image.index, data=PNG + bytes(self.SIZE))
                else:
                    yield event

        behave, service.fake.behave = service.fake.behave, large
        async with running_gateway(config(service, tmp_path, receive_timeout=1.0, grace=0.0)) as client:
            yield client
        service.fake.reset()

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_client_that_reads_nothing_is_disconnected(self, client: httpx.AsyncClient, stream: bool) -> None:  # noqa: FBT001
        """A client that reads nothing of a large response is disconnected."""
        fields = {"prompt": "x", "n": self.COUNT, "response_format": "b64_json"} | ({"stream": True} if stream else {})
        body = json.dumps(fields).encode()
        async with open_connections(client, 1) as [(reader, writer)]:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
            async with asyncio.timeout(TIMEOUT):
                for count in (1, 2):  # the looks count, too
                    await wait_until_not(client, f"in_flight {count}.0")
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await read_rest(reader)) < self.COUNT * self.SIZE

    async def test_a_slow_reader_gets_everything(self, client: httpx.AsyncClient) -> None:
        """A client that keeps reading slowly gets everything."""
        body = json.dumps({"prompt": "x", "n": 4, "response_format": "b64_json"}).encode()
        async with open_connections(client, 1) as [(reader, writer)]:
            writer.write(HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            size = 0
            async with asyncio.timeout(TIMEOUT):
                while piece := await reader.read(2**17):
                    size += len(piece)
                    await asyncio.sleep(0.03)
        assert size > 4 * self.SIZE


async def wait_until_not(client: httpx.AsyncClient, text: str) -> None:
    """Wait until the counters change."""
    while text in (await client.get("/metrics")).text:  # noqa: ASYNC110 - counters give no event
        await asyncio.sleep(0.05)


class TestLingering:
    async def test_early_errors_reach_a_client_that_still_sends(self, gateway: httpx.AsyncClient) -> None:
        """A client that sends the whole body before it reads gets the error response, not a reset."""
        size = 20_000_000  # more than the buffers between the two hold, and than the gateway takes
        async with open_connections(gateway, 1) as [(reader, writer)]:
            writer.write(HEAD + b"content-length: %d\r\n\r\n" % size)
            for _ in range(size // 100_000):
                writer.write(b" " * 100_000)
                await writer.drain()
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413")  # the gateway closes 30 s later

    async def test_endless_senders_are_disconnected(self, service: Service, tmp_path: Path) -> None:
        """A client that never stops sending keeps the connection for a limited time only."""
        settings = config(service, tmp_path, receive_timeout=0.5)
        async with running_gateway(settings) as client, open_connections(client, 1) as [(reader, writer)]:
            writer.write(HEAD + b"content-length: 1000\r\n\r\n")
            assert (await read_rest(reader)).startswith(b"HTTP/1.1 408")
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(TIMEOUT):
                    while not reader.exception():
                        writer.write(b"x")
                        await writer.drain()
                        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: %d\r\ncontent-length: %d\r\n\r\n" % (len(BODY), len(BODY)),
        b"content-length: %d\r\ncontent-length: 0\r\n\r\n" % len(BODY),
        b"content-length: %d, %d\r\n\r\n" % (len(BODY), len(BODY)),
        b"content-length: +%d\r\n\r\n" % len(BODY),
        b"content-length : %d\r\n\r\n" % len(BODY),
        b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" % len(BODY),
        b"transfer-encoding: chunked\r\ncontent-length: %d\r\n\r\n0\r\n\r\n" % len(BODY),
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: identity\r\n\r\n",
        b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"x: a\r\n b\r\ncontent-length: %d\r\n\r\n" % len(BODY),
        b"x: a\0b\r\ncontent-length: %d\r\n\r\n" % len(BODY),
    ],
)
async def test_ambiguous_lengths_are_refused(gateway: httpx.AsyncClient, fake: FakeService, head: bytes) -> None:
    """A body with an ambiguous end is refused, and the bytes after it are not taken for a request."""
    async with open_connections(gateway, 1) as [(reader, writer)]:
        writer.write(HEAD + head + BODY + GET)
        assert re.findall(rb"HTTP/1\.1 (\d+)", await read_rest(reader)) == [b"400"]
    assert not fake.requests
