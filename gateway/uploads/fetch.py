"""Fetching images by URL, without giving clients access to the gateway's network (SSRF).

- A host name is resolved once. All its addresses must be public; the first that answers is used. Afterwards the name
  is used for TLS and `Host` only and is never resolved again.
- A redirect is a new URL, to which all rules apply.
- Only `http` and `https` on their default ports are allowed, without credentials. Proxy settings of the environment
  are ignored.
- Names are resolved in separate threads, because a resolver may hang.
- Time and size are limited. Compressed responses are refused. Data that does not begin like an image is dropped.
- Errors reveal nothing about the internal network: the error for an unknown name is that for a name that is not public.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import httpcore
import httpx

from tintype.v1.image_header import mime_type
from tintype.v1.image_parts import HEAD
from tintype.v1.threads import CallTimeout, Threads

from ..http.body_limits import hold_bytes
from .addresses import is_public

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable

    Resolve = Callable[[str, int], Awaitable[list[str]]]

DEFAULT_PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
MAX_REDIRECTS = 3
CONNECT_TIMEOUT = 5.0  # seconds for each address
READ_TIMEOUT = 10.0  # seconds without a byte
LOOKUP_TIMEOUT = 10.0  # seconds to resolve a name
_RESOLVERS = Threads("tintype-names", 16, LOOKUP_TIMEOUT)
_EXTENSIONS = {"timeout": {"connect": CONNECT_TIMEOUT, "read": READ_TIMEOUT, "write": READ_TIMEOUT}}
HEADERS = ((b"accept", b"image/png, image/jpeg, image/webp"), (b"accept-encoding", b"identity"))

# httpcore's errors have no common base class.
_CONNECTION_ERRORS = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)


class FetchError(Exception):
    """A URL could not be fetched as an image; the message continues "must be the URL of an image: "."""


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host name; empty if it has none."""
    try:
        records = await _RESOLVERS.call(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError, CallTimeout):
        return []
    return list(dict.fromkeys(str(info[4][0]) for info in records))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """Fetches images of at most `max_bytes`, in at most `timeout` seconds each.

    `hosts`, each `HOST` or `HOST:PORT`, are exempt from the rules about ports and addresses.
    """

    max_bytes: int
    timeout: float
    hosts: frozenset[str] = frozenset()
    resolve: Resolve = resolve

    async def fetch(self, url: str) -> bytes:
        """Return the image at `url`, of which only the first bytes have been checked. Raises FetchError."""
        first = parse_url(url)
        network = _PublicNetwork(self.hosts, self.resolve)
        try:
            async with (
                asyncio.timeout(self.timeout),
                httpcore.AsyncConnectionPool(ssl_context=_tls(), network_backend=network) as pool,
            ):
                return await self._follow(pool, first)
        except TimeoutError as error:
            raise FetchError(f"it took longer than {self.timeout:g} s") from error
        except _CONNECTION_ERRORS as error:
            raise FetchError("its server can't be reached, or closed the connection") from error

    async def _follow(self, pool: httpcore.AsyncConnectionPool, url: httpx.URL) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            headers = [(b"host", url.netloc), *HEADERS]
            async with pool.stream("GET", _target(url), headers=headers, extensions=_EXTENSIONS) as response:
                if response.status not in REDIRECTS:
                    return await self._read(response)
                url = parse_url(_header(response, b"location"), url)
        raise FetchError(f"it is redirected more than {MAX_REDIRECTS} times")

    async def _read(self, response: httpcore.Response) -> bytes:
        if response.status != httpx.codes.OK:
            raise FetchError("its server does not answer with a file")
        if _header(response, b"content-encoding") not in ("", "identity"):
            raise FetchError("its server compresses the file, which was not requested")
        length = _header(response, b"content-length")
        if length.isdecimal() and int(length) > self.max_bytes:
            raise FetchError(f"it has more than {self.max_bytes} bytes")
        data = bytearray()
        async for chunk in response.aiter_stream():
            hold_bytes(len(chunk))
            data += chunk
            if len(data) > self.max_bytes:
                raise FetchError(f"it has more than {self.max_bytes} bytes")
            if len(data) >= HEAD and not mime_type(bytes(data[:HEAD])):
                break
        if not mime_type(bytes(data[:HEAD])):
            raise FetchError("the file there is not a PNG, JPEG or WebP image")
        return bytes(data)


class _PublicNetwork(httpcore.AsyncNetworkBackend):
    """A network backend of httpcore that connects to public addresses and to `hosts` only."""

    def __init__(self, hosts: frozenset[str], resolve: Resolve) -> None:
        self._hosts = hosts
        self._resolve = resolve
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        is_exempt = host in self._hosts or f"{host}:{port}" in self._hosts
        if port not in DEFAULT_PORTS.values() and not is_exempt:
            raise FetchError(f"its port must be 80 or 443, not {port}")
        addresses = await self._resolve(host, port)
        if not addresses or not (is_exempt or all(map(is_public, addresses))):
            raise FetchError("its host is unknown or has no public address")
        for address in addresses[:-1]:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._backend.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)


def parse_url(text: str, base: httpx.URL | None = None) -> httpx.URL:
    """Return a URL that may be fetched; `text` may be relative to `base`. Raises FetchError."""
    try:
        url = base.join(text) if base else httpx.URL(text)
        host = url.host  # decodes `xn--`, which fails if nothing follows it
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchError("it is malformed") from error
    if url.scheme not in DEFAULT_PORTS:
        raise FetchError("its scheme must be http or https")
    if url.userinfo or not host:
        raise FetchError("it must have a host and no user or password")
    return url


def _target(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _header(response: httpcore.Response, name: bytes) -> str:
    values = [value for key, value in response.headers if key.lower() == name]
    return values[0].decode("latin-1") if values else ""


@cache
def _tls() -> ssl.SSLContext:
    """Return the TLS context with the trusted authorities; cached, as reading them takes tens of milliseconds."""
    return httpcore.default_ssl_context()
