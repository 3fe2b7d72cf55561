"""How long a connection may do nothing: nobody keeps one by sending little, or nothing.

Until the head of a request is there, and where its body is read by nobody, the connection is closed after some seconds.
A body that is waited for is `receiving`'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .heads import Bounded

if TYPE_CHECKING:
    import asyncio


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
