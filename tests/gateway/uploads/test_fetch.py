"""Images by URL: no foreign URL, name server or server gives access to the internal network."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import httpcore
import pytest

from tests.support.gateway.fakes import PNG
from tests.support.gateway.hosts import ImageHost, running_host
from tintype.gateway.uploads.fetch import Fetcher, FetchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.216.34"


@pytest.fixture
async def host() -> AsyncIterator[ImageHost]:
    async with running_host() as running:
        yield running


def fetcher(host: ImageHost | None = None, **changes: Any) -> Fetcher:
    exempt = frozenset({f"127.0.0.1:{host.port}"} if host else ())
    defaults: dict[str, Any] = {"max_bytes": 1000, "timeout": 5, "hosts": exempt}
    return Fetcher(**defaults | changes)


def resolver(*answers: list[str]) -> Any:
    """Return a resolver that gives one answer after another, and the last one forever."""
    remaining = list(answers)

    async def resolve(_: str, __: int) -> list[str]:
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    return resolve


@pytest.mark.parametrize("path", ["/ok", "/unsized", "/moved", "/moved3"])
async def test_images_are_fetched_over_redirects(host: ImageHost, path: str) -> None:
    """An image is fetched over at most three redirects; the request asks for plain bytes, by the host's name."""
    assert await fetcher(host).fetch(f"http://127.0.0.1:{host.port}{path}") == PNG
    request = host.requests[-1].lower()
    assert b"host: 127.0.0.1:%d\r\n" % host.port in request
    assert b"accept-encoding: identity\r\n" in request


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/moved4", "redirected more than 3 times"),
        ("/loop", "redirected more than 3 times"),
        ("/metadata", "no public address"),
        ("/file", "scheme must be http or https"),
        ("/nowhere", "redirected more than 3 times"),
        ("/html", "not a PNG, JPEG or WebP"),
        ("/short", "not a PNG, JPEG or WebP"),
        ("/large", "more than 1000 bytes"),
        ("/declared", "more than 1000 bytes"),
        ("/gzip", "compresses"),
        ("/missing", "does not answer with a file"),
        ("/cut", "closed the connection"),
        ("/garbage", "closed the connection"),
    ],
)
async def test_other_files_are_refused(host: ImageHost, path: str, why: str) -> None:
    """Other files, too large ones and too many redirects are refused, and the error repeats nothing of them."""
    with pytest.raises(FetchError, match=why) as caught:
        await fetcher(host).fetch(f"http://127.0.0.1:{host.port}{path}")
    assert "secret" not in str(caught.value)


async def test_slow_servers_are_abandoned_after_the_time_limit(host: ImageHost) -> None:
    """A server that sends single bytes is given up after the time limit."""
    with pytest.raises(FetchError, match=r"longer than 0\.3 s"):
        await fetcher(host, timeout=0.3).fetch(f"http://127.0.0.1:{host.port}/drip")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://0/",
        "http://localhost/",
        "http://169.254.169.254/",
        "http://100.64.0.1/",
        "http://[fd00::1]/",
        "http://[fe80::1]/",
        "http://127.0.0.1:22/",
        "file:///etc/passwd",
        "http://a@127.0.0.1/",
        "http://192.0.2.1/",
        "http://224.0.0.1/",
        "http://①②⑦.⓪.⓪.①/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:7f00:1::]/",
        "http://[::127.0.0.1]/",
        "http://[fec0::1]/",
        "http://[fe80::1%25eth0]/",
        "https://user:secret@example.com/",
        "gopher://example.com/",
        "http:///etc/passwd",
        "http://[::1/",
        "http://a\r\nhost: b/",
        "//example.com/",
        "",
        "http://xn--/",
        "http://xn--a.example/",
    ],
)
async def test_internal_addresses_are_never_connected_to(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """No spelling of an internal address leads to a connection."""
    connections: list[Any] = []

    async def connect(*address: Any, **_: Any) -> None:
        connections.append(address)
        raise OSError

    monkeypatch.setattr("httpcore.AnyIOBackend.connect_tcp", connect)
    with pytest.raises(FetchError, match=r"must|malformed|no public address"):
        await fetcher(timeout=10).fetch(url)
    assert connections == []


@pytest.mark.parametrize("addresses", [["10.0.0.1"], [PUBLIC, "10.0.0.1"], ["::1", PUBLIC], [], ["nonsense"]])
async def test_names_with_an_internal_address_are_refused(addresses: list[str]) -> None:
    """One internal address among public ones refuses a name, with the same error as for an unknown name."""
    with pytest.raises(FetchError, match="its host is unknown or has no public address"):
        await fetcher(resolve=resolver(addresses)).fetch("http://name.example/")


async def test_names_are_resolved_once(monkeypatch: pytest.MonkeyPatch, host: ImageHost) -> None:
    """The checked address is the one that is connected to: the name is never resolved again."""
    connections: list[tuple[str, int]] = []
    real = asyncio.open_connection

    async def connect(_: Any, address: str, port: int, *__: Any) -> Any:
        connections.append((address, port))
        return await _stream(await real("127.0.0.1", host.port))

    monkeypatch.setattr("httpcore.AnyIOBackend.connect_tcp", connect)
    resolve = resolver([PUBLIC], ["127.0.0.1"])
    assert await fetcher(resolve=resolve).fetch("http://name.example/ok") == PNG
    assert connections == [(PUBLIC, 80)]
    assert b"host: name.example\r\n" in host.requests[0].lower()
    with pytest.raises(FetchError, match="no public address"):
        await fetcher(resolve=resolve).fetch("http://name.example/ok")


async def test_certificates_must_match_the_name(monkeypatch: pytest.MonkeyPatch, host: ImageHost) -> None:
    """With TLS the certificate must be that of the name, not that of the address."""
    stream = await _stream(await asyncio.open_connection("127.0.0.1", host.port))
    calls: list[Any] = []

    async def connect(_: Any, *address: Any) -> Any:
        calls.append(address[:2])
        return stream

    async def start_tls(ssl_context: ssl.SSLContext, server_hostname: str, timeout: float | None = None) -> Any:  # noqa: ARG001, ASYNC109
        calls.append((server_hostname, ssl_context.check_hostname, ssl_context.verify_mode))
        return stream

    stream.start_tls = start_tls
    monkeypatch.setattr("httpcore.AnyIOBackend.connect_tcp", connect)
    assert await fetcher(resolve=resolver([PUBLIC])).fetch("https://name.example/ok") == PNG
    assert calls == [(PUBLIC, 443), ("name.example", True, ssl.CERT_REQUIRED)]


async def test_the_next_address_is_tried(host: ImageHost) -> None:
    """A name with several addresses is reached at one that answers."""
    exempt = frozenset({f"name.example:{host.port}"})
    reader = fetcher(hosts=exempt, resolve=resolver(["127.0.0.77", "127.0.0.1"]))
    assert await reader.fetch(f"http://name.example:{host.port}/ok") == PNG


async def test_other_ports_are_refused() -> None:
    """Other ports than the scheme's are not connected to, even on public hosts."""
    with pytest.raises(FetchError, match="port must be 80 or 443, not 6379"):
        await fetcher(resolve=resolver([PUBLIC])).fetch("http://name.example:6379/")


async def test_unreachable_servers_are_client_errors() -> None:
    """An unreachable server gives a client error, not a server error."""
    async with running_host() as stopped:
        pass
    with pytest.raises(FetchError, match="can't be reached"):
        await fetcher(stopped).fetch(f"http://127.0.0.1:{stopped.port}/ok")


async def test_proxy_settings_are_ignored(monkeypatch: pytest.MonkeyPatch, host: ImageHost) -> None:
    """Proxy settings of the environment are ignored."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await fetcher(host).fetch(f"http://127.0.0.1:{host.port}/ok") == PNG


async def _stream(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> Any:
    """Return a connection of httpcore."""
    reader, writer = streams

    class Stream(httpcore.AsyncNetworkStream):
        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109
            return await reader.read(max_bytes)

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
            writer.write(buffer)
            await writer.drain()

        async def aclose(self) -> None:
            writer.close()

    return Stream()
