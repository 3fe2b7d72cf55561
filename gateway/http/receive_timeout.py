"""Time limits against slow and idle clients (slowloris).

- A connection is closed if a request's head, or a body that no handler reads, does not arrive within `seconds`.
  `body_limits` limits the time of a body that a handler reads.
- A client that reads its response more slowly than MIN_RATE is disconnected, because the response stays in memory
  meanwhile. The same limit applies to the rest of a response when the connection is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .body_limits import MIN_RATE
from .uvicorn_protocol import HttpConnection

if TYPE_CHECKING:
    import asyncio


class TimedTransport:
    """A transport around `inner` that counts bytes and closes in bounded time.

    It closes in stages. If the connection were closed while the client still sends its body, the client's system would
    discard the response before the client reads it (RFC 9112, section 9.6). So the rest of the body is read and
    discarded first.
    """

    def __init__(self, inner: asyncio.Transport, connection: TimedConnection) -> None:
        self.lingering = False
        self._inner = inner
        self._connection = connection
        self._written = 0
        self.bytes_ahead = 0  # bytes written by `write_ahead` and not yet by `write`

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def sent_bytes(self) -> int:
        """Bytes that have left the write buffer: received by the client, or in the system's buffers."""
        return self._written - self._inner.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Write bytes, except those already written by `write_ahead`."""
        rest, self.bytes_ahead = data[self.bytes_ahead :], max(0, self.bytes_ahead - len(data))
        self._written += len(rest)
        self._inner.write(rest)

    def write_ahead(self, data: bytes) -> None:
        """Write the first bytes of the next `write` early."""
        self._written += len(data)
        self.bytes_ahead += len(data)
        self._inner.write(data)

    def is_closing(self) -> bool:
        """Return whether the transport accepts no more data."""
        return self.lingering or self._inner.is_closing()

    def close(self) -> None:
        """Close once the response is written and the body has arrived.

        After `seconds`, plus the time that the rest of the response takes at MIN_RATE, the connection is aborted.
        """
        if self._inner.is_closing():
            return
        lingers = self._connection.has_unread_body() and not self.lingering
        rest = self._inner.get_write_buffer_size()
        if lingers or rest:
            self._connection.loop.call_later(self._connection.seconds + rest / MIN_RATE, self._inner.abort)
        if lingers:
            self.lingering = True
            self._connection.resume_reading()
            if self._inner.can_write_eof():  # TLS can't close one half
                self._inner.write_eof()
        else:
            self._inner.close()


class TimedConnection(HttpConnection):
    """A connection that is closed when its client is too slow."""

    seconds = 30.0
    head_timer: asyncio.TimerHandle | None = None  # limits the time until a head is complete
    read_timer: asyncio.TimerHandle | None = None  # checks that the client reads its response

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first head."""
        super().connection_made(TimedTransport(transport, self))  # type: ignore[arg-type]
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        """Receive bytes; start the timer of the next head, unless a request is being answered.

        Bytes that arrive while a request is answered are its body, or a next request that is read later.
        """
        if self.transport.lingering:
            return
        if self.head_timer is None and not self.is_answering:
            self._start_head_timer()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Stop the timer of the head."""
        self.stop_head_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self.stop_head_timer()
        self._stop_read_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start to check that the client reads its response."""
        super().pause_writing()
        if self.read_timer is None:
            self._start_read_timer()

    def resume_writing(self) -> None:
        """Stop the check: the client has read most of what was buffered."""
        self._stop_read_timer()
        super().resume_writing()

    def has_unread_body(self) -> bool:
        """Return whether the client still sends the body of an answered request."""
        return self.is_body_incomplete and not self.is_answering

    def stop_head_timer(self) -> None:
        """Stop the timer of the head."""
        if self.head_timer:
            self.head_timer.cancel()
            self.head_timer = None

    def _start_head_timer(self) -> None:
        self.head_timer = self.loop.call_later(self.seconds, self.transport.close)

    def _start_read_timer(self) -> None:
        self.read_timer = self.loop.call_later(self.seconds, self._check_reading, self.transport.sent_bytes)

    def _check_reading(self, before: int) -> None:
        """Abort the connection if the client has read too little; otherwise start the next check."""
        self.read_timer = None
        if self.transport.sent_bytes - before < MIN_RATE * self.seconds:
            self.transport.abort()
        else:
            self._start_read_timer()

    def _stop_read_timer(self) -> None:
        if self.read_timer:
            self.read_timer.cancel()
            self.read_timer = None
