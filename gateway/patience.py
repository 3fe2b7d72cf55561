"""How long a request may take to arrive: nobody keeps a connection by sending little, or nothing.

A request has `seconds`, and one more for each `RATE` bytes of its body, so that large pictures come over slow lines.

- Until its head is there, and where its body is read by nobody, the connection is closed: `Patient`, a protocol of
  uvicorn's.
- A body that is waited for is 408, in the vendor's own shape: `Unhurried`, an ASGI application around another. One that
  breaks off is a client that has left.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType

from .denials import BodyTooSlow
from .errors import ClientGone
from .heads import Bounded

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

RATE = 16 * 2**10  # bytes a second: slower than any line of today


class Unhurried:
    """An ASGI application around `app`, whose requests have `seconds` to arrive."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as `app` does; waiting for a body raises BodyTooSlow, and ClientGone where it breaks off."""
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        until, came = monotonic() + self._seconds, False

        async def in_time() -> Any:
            nonlocal until, came
            if came:  # what is waited for from now on is the client's leaving
                return await receive()
            message: Any = await _before(until, receive, self._seconds)
            if message["type"] == "http.disconnect":
                raise ClientGone
            until += len(message.get("body", b"")) / RATE
            came = not message.get("more_body", False)
            return message

        await self.app(scope, in_time, send)


async def _before(until: float, receive: Receive, seconds: float) -> Any:
    try:
        async with asyncio.timeout(until - monotonic()):
            return await receive()
    except TimeoutError:
        raise BodyTooSlow(seconds) from None


def patient(seconds: float) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol of connections that have `seconds` for each head."""

    class Patient(Bounded):
        """A connection that is closed when nothing comes of it."""

        waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            # While a request is answered, what comes is its body, or the next one, which is read later.
            if self.waiting is None and (self.cycle is None or self.cycle.response_complete):
                self._wait()
            super().data_received(data)

        def on_headers_complete(self) -> None:
            self._done()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._done()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self.waiting = self.loop.call_later(seconds, self.transport.close)

        def _done(self) -> None:
            if self.waiting:
                self.waiting.cancel()
                self.waiting = None

    return Patient
