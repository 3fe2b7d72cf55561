"""Limits on request bodies: their pace, their total memory, and decompression.

- A body must arrive at MIN_RATE or faster until it is complete. Early bytes do not extend the time of later ones. A
  slower body is answered with 408. If a body ends early, the client has disconnected.
- The bytes that requests hold (bodies, fetched images, responses) are counted, with one limit for all requests. Above
  the limit, large bodies are answered with 503 and `retry-after`. The first UNCOUNTED bytes of each request do not
  count, so requests without uploads are still served.
- If memory is short, a body that has been arriving for longer than the time limit fails: slow uploads must not lock
  out fast ones.
- A compressed body is decompressed as it arrives; MAX_EXPANSION limits its expansion.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType

from ..access.rejections import BodyTooSlow, TooManyUploads, WrongContentType
from ..errors import BadRequest, ClientGone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractContextManager

    from litestar import Request
    from litestar.types import ASGIApp, Receive, Scope, Send

MIN_RATE = 16 * 2**10  # bytes per second; every usual connection is faster
UNCOUNTED = 64 * 2**10  # bytes of a request that are not counted
PIECE = 2**18  # bytes of a body that are passed on at once
MAX_EXPANSION = 100  # bytes that one compressed byte may expand to, beyond the first MiB
ENCODINGS = ("gzip", "x-gzip", "deflate")
UNCOMPRESSED = ("", "identity")

_HELD: ContextVar[HeldMemory | None] = ContextVar("held", default=None)


class BodyMemory:
    """The bytes that all requests hold together, at most `capacity`.

    If memory is short, a body fails that has been arriving for longer than `timeout` seconds.
    """

    def __init__(self, capacity: int, timeout: float) -> None:
        self.used = 0
        self.holding: dict[HeldMemory, None] = {}  # the oldest first
        self._capacity = capacity
        self._timeout = timeout

    def free(self, count: int) -> None:
        """Fail slow bodies, oldest first, until `count` more bytes fit. Raises TooManyUploads if they never do."""
        for held in list(self.holding):
            if self.used + count <= self._capacity:
                return
            if held.timeout and monotonic() - held.started > self._timeout:
                held.fail()
        if self.used + count > self._capacity:
            raise TooManyUploads


class HeldMemory:
    """The memory that one request holds; it is counted while a `hold` block is open."""

    def __init__(self, memory: BodyMemory) -> None:
        self.started = monotonic()
        self.has_failed = False
        self.timeout: asyncio.Timeout | None = None  # while more of the body is awaited
        self._memory = memory
        self._bytes = 0
        self._holds = 0

    @property
    def counted_bytes(self) -> int:
        """The bytes counted towards the limit."""
        return max(0, self._bytes - UNCOUNTED)

    def take(self, count: int, *, always: bool = False) -> None:
        """Count more bytes. Raises TooManyUploads if they do not fit, unless `always`."""
        before = self.counted_bytes
        more = max(0, self._bytes + count - UNCOUNTED) - before
        if more and not always:
            self._memory.free(more)
        self._bytes += count
        if self._holds:
            self._memory.used += self.counted_bytes - before

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Count the held bytes inside the block; blocks may overlap."""
        self._holds += 1
        if self._holds == 1:
            self._memory.used += self.counted_bytes
            self._memory.holding[self] = None
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                self._memory.used -= self.counted_bytes
                del self._memory.holding[self]

    def fail(self) -> None:
        """Fail the body that is arriving, and stop counting its bytes."""
        self._memory.used -= self.counted_bytes
        self._bytes, self.has_failed = 0, True
        if self.timeout and not self.timeout.expired():  # the timeout may have fired, before its task has run
            self.timeout.reschedule(asyncio.get_running_loop().time())


def hold_bytes(count: int, *, always: bool = False) -> None:
    """Count bytes for the request that this task answers, if any. Raises TooManyUploads."""
    held = _HELD.get()
    if held:
        held.take(count, always=always)


@contextmanager
def held_bytes(count: int, *, always: bool = False) -> Iterator[None]:
    """Count bytes for the request that this task answers, if any, inside the block. Raises TooManyUploads."""
    held = _HELD.get()
    if held:
        held.take(count, always=always)
    try:
        yield
    finally:
        if held:
            held.take(-count, always=True)


def extend_hold() -> AbstractContextManager[None]:
    """Return a context that counts the current request's memory, even after the request has ended."""
    held = _HELD.get()
    return held.hold() if held else nullcontext()


class BodyLimits:
    """ASGI middleware that applies the limits to the bodies that `app` reads, and decompresses them."""

    def __init__(self, app: ASGIApp, seconds: float, memory: BodyMemory) -> None:
        self.app = app
        self._seconds = seconds
        self._memory = memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call `app`, in which reading a body raises BodyTooSlow, TooManyUploads, BadRequest and ClientGone."""
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        held = HeldMemory(self._memory)
        token = _HELD.set(held)
        try:
            with held.hold():
                await self.app(scope, _BoundedReceive(scope, receive, held, self._seconds).receive, send)
        finally:
            _HELD.reset(token)


class _BoundedReceive:
    """ASGI's `receive` for one request."""

    def __init__(self, scope: Any, receive: Receive, held: HeldMemory, seconds: float) -> None:
        self._encoding = _encoding(scope)
        self._receive = receive
        self._held = held
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._period_bytes = 0  # bytes that have arrived since `_deadline` was set
        self._decompressor = _Decompressor() if self._encoding in ENCODINGS else None
        self._is_complete = False

    async def receive(self) -> Any:
        """Return the next message, with its body decompressed."""
        if self._is_complete:  # from now on, only the client's disconnect is awaited
            return await self._receive()
        if self._encoding not in (*ENCODINGS, *UNCOMPRESSED):
            raise WrongContentType(f"Content-Encoding must be gzip, deflate or identity, not {self._encoding!r}.")
        message = await self._next()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body, self._is_complete = message.get("body", b""), not message.get("more_body", False)
        self._extend_deadline(len(body))
        if self._decompressor:
            body = self._decompressor.decompress(body, last=self._is_complete)
        self._held.take(len(body))
        return message | {"body": body}

    async def _next(self) -> Any:
        try:
            async with asyncio.timeout_at(self._deadline) as self._held.timeout:
                return await self._receive()
        except TimeoutError:
            raise (TooManyUploads() if self._held.has_failed else BodyTooSlow(self._seconds)) from None
        finally:
            self._held.timeout = None

    def _extend_deadline(self, count: int) -> None:
        """Extend the time limit once enough bytes have arrived for the time passed."""
        self._period_bytes += count
        if self._period_bytes >= MIN_RATE * self._seconds:
            self._period_bytes, self._deadline = 0, asyncio.get_running_loop().time() + self._seconds


class _Decompressor:
    """Decompression of a gzip or zlib body that arrives in pieces."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=47)  # detects gzip or zlib by the first bytes
        self._in = self._out = 0

    def decompress(self, data: bytes, *, last: bool) -> bytes:
        """Return the next piece decompressed. Raises BadRequest."""
        self._in += len(data)
        limit = 2**20 + MAX_EXPANSION * self._in - self._out
        try:
            plain = self._stream.decompress(data, limit)
        except zlib.error as error:
            raise BadRequest(f"The body is not compressed as Content-Encoding says: {error}.") from error
        self._out += len(plain)
        if self._stream.unconsumed_tail:
            raise BadRequest(f"The body expands to more than {MAX_EXPANSION} times its size; send it uncompressed.")
        if self._stream.unused_data:
            raise BadRequest("The body must end with its compressed data; more bytes follow.")
        if last and self._in and not self._stream.eof:
            raise BadRequest("The body ends before its compressed data is complete.")
        return plain


def _encoding(scope: Any) -> str:
    values = [str(value, "latin-1").strip().lower() for name, value in scope["headers"] if name == b"content-encoding"]
    return ", ".join(values)[:100]


async def stream_body(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """Yield the body of a request in pieces, without storing it; a body stored by `store_body` is read from there."""
    stored = request.scope["state"].get("body")
    if stored is None:
        async for piece in request.stream():
            yield piece
        return
    for start in range(0, len(stored), PIECE):
        yield bytes(memoryview(stored)[start : start + PIECE])


async def read_body(request: Request[Any, Any, Any]) -> bytes | bytearray:
    """Return the body of a request, without storing it; a body stored by `store_body` is read from there."""
    stored: bytearray | None = request.scope["state"].get("body")
    if stored is not None:
        return stored
    body = bytearray()  # grows in place; joining pieces would need the memory twice
    async for piece in request.stream():
        body += piece
    return body


async def store_body(request: Request[Any, Any, Any]) -> bytes | bytearray:
    """Return the body of a request, and store it until `drop_body` is called."""
    request.scope["state"]["body"] = body = await read_body(request)
    return body


def drop_body(request: Request[Any, Any, Any]) -> None:
    """Drop the stored body."""
    request.scope["state"].pop("body", None)
