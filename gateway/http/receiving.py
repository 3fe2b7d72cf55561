"""Bounds on bodies: their pace, their memory together, and inflation.

- A body must come at RATE at least, as long as it comes: what came early buys no time later. Otherwise it is 408.
  A body that breaks off is a client that has left.
- What requests hold in memory, bodies and fetched images and answers, is counted, and has one bound for all. Beyond
  it large bodies are 503 with `retry-after`; the first FREE bytes of each request count for nothing, so that requests
  without uploads go on.
- Under that pressure, a body that has been coming for longer than the time limit makes room for others: slow uploads
  can't lock out fast ones.
- A compressed body is inflated as it comes, and RATIO bounds what it may become.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType

from ..access.denials import BodyTooSlow, TooManyUploads, WrongContentType
from ..errors import BadRequest, ClientGone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractContextManager

    from litestar import Request
    from litestar.types import ASGIApp, Receive, Scope, Send

RATE = 16 * 2**10  # bytes a second: slower than any line of today
FREE = 64 * 2**10  # bytes of a request that count for nothing
PIECE = 2**18  # bytes of a body that are handed on at once
RATIO = 100  # bytes that one compressed byte may become, beyond the first MiB
ENCODINGS = ("gzip", "x-gzip", "deflate")
PLAIN = ("", "identity")

_HELD: ContextVar[Held | None] = ContextVar("held", default=None)


class Memory:
    """The bytes that all requests hold together: `capacity` at most.

    `patience` are seconds.
    """

    def __init__(self, capacity: int, patience: float) -> None:
        self.used = 0
        self.holding: dict[Held, None] = {}  # the oldest first
        self._capacity = capacity
        self._patience = patience

    def make_room(self, count: int) -> None:
        """End bodies that come too slowly, until `count` bytes more fit in.

        Raises TooManyUploads if they do not.
        """
        for held in list(self.holding):
            if self.used + count <= self._capacity:
                return
            if held.waiting and monotonic() - held.began > self._patience:
                held.end()
        if self.used + count > self._capacity:
            raise TooManyUploads


class Held:
    """What one request holds in memory, as long as `kept` says."""

    def __init__(self, memory: Memory) -> None:
        self.began = monotonic()
        self.ended = False
        self.waiting: asyncio.Timeout | None = None  # of the body, while more of it is waited for
        self._memory = memory
        self._bytes = 0
        self._keepers = 0

    @property
    def counted(self) -> int:
        """The bytes that count."""
        return max(0, self._bytes - FREE)

    def take(self, count: int, *, always: bool = False) -> None:
        """Count more bytes; `always` also where there is no room. Raises TooManyUploads."""
        before = self.counted
        more = max(0, self._bytes + count - FREE) - before
        if more and not always:
            self._memory.make_room(more)
        self._bytes += count
        if self._keepers:
            self._memory.used += self.counted - before

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Hold what is counted inside the block; several blocks may overlap."""
        self._keepers += 1
        if self._keepers == 1:
            self._memory.used += self.counted
            self._memory.holding[self] = None
        try:
            yield
        finally:
            self._keepers -= 1
            if not self._keepers:
                self._memory.used -= self.counted
                del self._memory.holding[self]

    def end(self) -> None:
        """Fail the body that is being received, and stop counting its bytes."""
        self._memory.used -= self.counted
        self._bytes, self.ended = 0, True
        if self.waiting and not self.waiting.expired():  # its time may be over, and its task not told yet
            self.waiting.reschedule(asyncio.get_running_loop().time())


def hold(count: int, *, always: bool = False) -> None:
    """Count bytes for the request that this task answers.

    Without a request nothing is counted. Raises TooManyUploads.
    """
    held = _HELD.get()
    if held:
        held.take(count, always=always)


def keeping() -> AbstractContextManager[None]:
    """Return a context that keeps a request's memory counted after its end."""
    held = _HELD.get()
    return held.kept() if held else nullcontext()


class Receiving:
    """An ASGI application that bounds the bodies which `app` reads.

    They arrive in time, inflated, and within the memory for all of them.
    """

    def __init__(self, app: ASGIApp, seconds: float, memory: Memory) -> None:
        self.app = app
        self._seconds = seconds
        self._memory = memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as `app` does.

        Reading a body raises BodyTooSlow, TooManyUploads, BadRequest and ClientGone.
        """
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        held = Held(self._memory)
        token = _HELD.set(held)
        try:
            with held.kept():
                await self.app(scope, _Body(scope, receive, held, self._seconds).receive, send)
        finally:
            _HELD.reset(token)


class _Body:
    """ASGI's `receive` for one request."""

    def __init__(self, scope: Any, receive: Receive, held: Held, seconds: float) -> None:
        self._encoding = _encoding(scope)
        self._receive = receive
        self._held = held
        self._seconds = seconds
        self._until = asyncio.get_running_loop().time() + seconds
        self._since = 0  # bytes since then
        self._inflated = _Inflated() if self._encoding in ENCODINGS else None
        self._came = False

    async def receive(self) -> Any:
        """Return the next message, whose body is plain."""
        if self._came:  # what is waited for from now on is the client's leaving
            return await self._receive()
        if self._encoding not in (*ENCODINGS, *PLAIN):
            raise WrongContentType(
                f"The body must be plain, or of the encoding gzip or deflate, not {self._encoding!r}."
            )
        message = await self._next()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body, self._came = message.get("body", b""), not message.get("more_body", False)
        self._arrived(len(body))
        if self._inflated:
            body = self._inflated.more(body, last=self._came)
        self._held.take(len(body))
        return message | {"body": body}

    async def _next(self) -> Any:
        try:
            async with asyncio.timeout_at(self._until) as self._held.waiting:
                return await self._receive()
        except TimeoutError:
            raise (TooManyUploads() if self._held.ended else BodyTooSlow(self._seconds)) from None
        finally:
            self._held.waiting = None

    def _arrived(self, count: int) -> None:
        """Extend the time once enough bytes have arrived for the time passed."""
        self._since += count
        if self._since >= RATE * self._seconds:
            self._since, self._until = 0, asyncio.get_running_loop().time() + self._seconds


class _Inflated:
    """A body in gzip or zlib, of which pieces come."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=47)  # either kind, told apart by its first bytes
        self._in = self._out = 0

    def more(self, data: bytes, *, last: bool) -> bytes:
        """Return what the next piece becomes. Raises BadRequest."""
        self._in += len(data)
        most = 2**20 + RATIO * self._in - self._out
        try:
            plain = self._stream.decompress(data, most)
        except zlib.error as error:
            raise BadRequest(f"The body is not what its Content-Encoding says: {error}.") from error
        self._out += len(plain)
        if self._stream.unconsumed_tail:
            raise BadRequest(f"The body inflates to more than {RATIO} times its size: send it without compression.")
        if self._stream.unused_data:
            raise BadRequest("The body goes on behind the end of its compressed data.")
        if last and self._in and not self._stream.eof:
            raise BadRequest("The body ends before its compressed data does.")
        return plain


def _encoding(scope: Any) -> str:
    said = [str(value, "latin-1").strip().lower() for name, value in scope["headers"] if name == b"content-encoding"]
    return ", ".join(said)[:100]


async def pieces(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """Yield the body of a request, without keeping it.

    If `keep` has kept it, that is yielded.
    """
    kept = request.scope["state"].get("body")
    if kept is None:
        async for piece in request.stream():
            yield piece
        return
    for start in range(0, len(kept), PIECE):
        yield bytes(memoryview(kept)[start : start + PIECE])


async def whole(request: Request[Any, Any, Any]) -> bytes | bytearray:
    """Return the body of a request, without keeping it.

    If `keep` has kept it, that is returned.
    """
    kept: bytearray | None = request.scope["state"].get("body")
    if kept is not None:
        return kept
    body = bytearray()  # it grows in place: joining pieces would take the memory twice
    async for piece in request.stream():
        body += piece
    return body


async def keep(request: Request[Any, Any, Any]) -> bytes | bytearray:
    """Return the body of a request, and keep it until `forget`."""
    request.scope["state"]["body"] = body = await whole(request)
    return body


def forget(request: Request[Any, Any, Any]) -> None:
    """Keep the body no longer."""
    request.scope["state"].pop("body", None)
