"""Time limits for connections: slow senders, slow readers, and idle ones.

- Until the head of a request is there, and if its body is read by no handler, the connection ends after some seconds.
  A body that a handler waits for is `receiving`'s business.
- A client that takes its answer more slowly than RATE, while there is more of it, is cut off: the answer is in memory
  for as long. The same holds for the rest of an answer when the connection is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .heads import Bounded
from .receiving import RATE

if TYPE_CHECKING:
    import asyncio


class Transport:
    """A transport around `inner` that counts bytes and closes in bounded time.

    It closes in good order. A client that still sends its body would not see its answer: what comes after the close
    makes its system drop what it has not read (RFC 9112, section 9.6). So the rest of the body is read, and dropped
    here.
    """

    def __init__(self, inner: asyncio.Transport, connection: Patient) -> None:
        self.lingering = False
        self._inner = inner
        self._connection = connection
        self._written = 0
        self.ahead = 0  # bytes that `write_ahead` has written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def taken(self) -> int:
        """The bytes that the client's machine has taken, and the system's buffers."""
        return self._written - self._inner.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Write bytes, without those that `write_ahead` has written."""
        rest, self.ahead = data[self.ahead :], max(0, self.ahead - len(data))
        self._written += len(rest)
        self._inner.write(rest)

    def write_ahead(self, data: bytes) -> None:
        """Write the beginning of what will be written next."""
        self._written += len(data)
        self.ahead += len(data)
        self._inner.write(data)

    def is_closing(self) -> bool:
        """Tell whether nothing more is written."""
        return self.lingering or self._inner.is_closing()

    def close(self) -> None:
        """Close once the answer is written and the body has arrived.

        After some seconds it closes anyway; the rest may go at RATE.
        """
        if self._inner.is_closing():
            return
        lingers = self._connection.sends_still() and not self.lingering
        rest = self._inner.get_write_buffer_size()
        if lingers or rest:
            self._connection.loop.call_later(self._connection.seconds + rest / RATE, self._inner.abort)
        if lingers:
            self.lingering = True
            self._connection.flow.resume_reading()
            self._inner.write_eof()
        else:
            self._inner.close()


class Patient(Bounded):
    """A connection that is closed when nothing comes of it."""

    seconds = 30.0
    transport: Any
    waiting: asyncio.TimerHandle | None = None  # for a head
    reading: asyncio.TimerHandle | None = None  # for the client

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request."""
        super().connection_made(Transport(transport, self))  # type: ignore[arg-type]
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Receive bytes.

        While a request is answered, these are its body, or the next request, which is read later.
        """
        if self.transport.lingering:
            return
        if self.waiting is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Wait no longer."""
        self.done_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body has come, also if it was answered before."""
        super().on_message_complete()
        if not self.parser.should_upgrade():
            self.cycle.more_body = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self.done_waiting()
        self._done_reading()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that is slower than its answer."""
        super().pause_writing()
        if self.reading is None:
            self.reading = self.loop.call_later(self.seconds, self._judge, self.transport.taken)

    def resume_writing(self) -> None:
        """Wait no longer: most of what there is has been taken."""
        self._done_reading()
        super().resume_writing()

    def sends_still(self) -> bool:
        """Tell whether the client still sends the body of an answered request."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def done_waiting(self) -> None:
        """Wait no longer for a head."""
        if self.waiting:
            self.waiting.cancel()
            self.waiting = None

    def _wait(self) -> None:
        self.waiting = self.loop.call_later(self.seconds, self.transport.close)

    def _judge(self, before: int) -> None:
        """Cut off a client that has read too little, or wait again."""
        self.reading = None
        if self.transport.taken - before < RATE * self.seconds:
            self.transport.abort()
        else:
            self.reading = self.loop.call_later(self.seconds, self._judge, self.transport.taken)

    def _done_reading(self) -> None:
        if self.reading:
            self.reading.cancel()
            self.reading = None
