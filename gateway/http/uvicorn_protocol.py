"""uvicorn's connections and server, adapted; the only module that uses undocumented interfaces of uvicorn.

`pyproject.toml` bounds uvicorn's version, and a test names each interface used here.

- A connection stays in HTTP/1.1: offers of another protocol (`Upgrade`) are ignored, as RFC 9110, section 7.8 allows.
  Java's own client offers HTTP/2 with each first request and still sends its body.
- The head of a request is limited. httptools joins the pieces of a header until it is complete, and keeps all headers.
  So the bytes since the last parsed part that is not a header are counted: this limits the request line, headers,
  chunk extensions and trailers. A head that arrives in one piece may be larger by that piece, which the event loop
  limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn
from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..dialects.openai import INVALID_REQUEST
from ..dialects.openai_types import ErrorBody, ErrorResponse

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

MAX_HEAD = 2**16  # bytes
ERROR_TIME = 1.0  # seconds after the grace period to send errors for unfinished requests
_MESSAGE = f"The head of the request must have at most {MAX_HEAD} bytes."
_BODY = msgspec.json.encode(ErrorResponse(ErrorBody(message=_MESSAGE, type=INVALID_REQUEST, param=None, code=None)))
HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


class HttpConnection(HttpToolsProtocol):
    """One connection in HTTP/1.1; it is closed if a head is too large, with 431 unless a response is being sent.

    Subclasses override the callbacks of asyncio and httptools, and `on_response_complete`. They read the state of the
    connection by the properties below.
    """

    transport: Any
    _head_bytes = 0  # bytes since the last parsed part that is not a header
    _is_rereading = False  # whether the parser reads a head that is known already

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser: Any = _Parser(self)

    @property
    def open_connections(self) -> set[Any]:
        """All connections of the server, which calls `shutdown` of each when it shuts down."""
        connections: set[Any] = self.connections
        return connections

    @property
    def is_answering(self) -> bool:
        """Whether the response to the newest request is incomplete."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_body_incomplete(self) -> bool:
        """Whether more of the newest request's body is expected."""
        return self.cycle is not None and self.cycle.more_body

    @property
    def is_response_started(self) -> bool:
        """Whether the head of the newest response has been sent."""
        return self.cycle is not None and self.cycle.response_started

    @property
    def is_chunked(self) -> bool:
        """Whether the newest response is sent in chunks."""
        return self.cycle is not None and bool(self.cycle.chunked_encoding)

    @property
    def is_pipelining(self) -> bool:
        """Whether the newest request waits for the response to an earlier one."""
        return bool(self.pipeline)

    def close_after_response(self) -> None:
        """Close the connection once the newest request is answered."""
        self.cycle.keep_alive = False

    def resume_reading(self) -> None:
        """Go on reading from the socket."""
        self.flow.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, in pieces of at most some hundred kilobytes."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD and not self.transport.is_closing():
            if not self.is_answering:
                self.transport.write(HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start a request."""
        self._head_bytes = 0
        if not self._is_rereading:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Add a part of the URL."""
        if not self._is_rereading:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        if not self._is_rereading:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the response."""
        self._head_bytes = 0
        if not self._is_rereading:
            super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """Restart the count: trailers may follow the last chunk."""
        self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Add a piece of the body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body, also if the request was answered before; after an offer the body is still to come."""
        self._head_bytes = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()
            self.cycle.more_body = False

    def reread(self, parser: HttpRequestParser) -> None:
        """Let another parser read the current head again, without the offer."""
        headers = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        self._is_rereading = True
        try:
            parser.feed_data(b"POST / HTTP/%b\r\n%b\r\n" % (self.scope["http_version"].encode(), b"".join(headers)))
        finally:
            self._is_rereading = False


class _Parser:
    """httptools' parser, replaced by a new one after each offer of another protocol.

    httptools takes all bytes after the head of an offer for the other protocol, so a new parser reads on.
    """

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection
        self._parser = connection.parser

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> None:
        """Parse data. Raises HttpParserError."""
        rest = memoryview(data)
        while rest:
            try:
                self._parser.feed_data(rest)
            except HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]
                self._parser = HttpRequestParser(self._connection)
                with suppress(AttributeError):  # httptools has it since 0.6.3; uvicorn sets it on its own parser
                    self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self._connection.reread(self._parser)
            else:
                return


def shutdown_seconds(grace: float) -> int:
    """Return the seconds after which uvicorn cancels requests: the grace period, and the time for errors after it."""
    return math.ceil(grace + ERROR_TIME)


class Server(uvicorn.Server):
    """uvicorn on a given socket; it calls `on_ready` when it accepts requests, and leaves signals to the gateway.

    `grace` seconds after the shutdown has begun, `end_requests` is called to end the requests that still run.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        on_ready: Callable[[], None],
        grace: float,
        end_requests: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.listener = listener
        self._on_ready = on_ready
        self.grace = grace
        self._end_requests = end_requests

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then call `on_ready`."""
        await super().startup(sockets=sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down; run the application's shutdown even if forced, where uvicorn skips it and logs a traceback."""
        self.config.timeout_graceful_shutdown = shutdown_seconds(self.grace)
        timer = asyncio.get_running_loop().call_later(self.grace, self._end_requests)
        await super().shutdown(sockets=sockets)
        timer.cancel()
        if self.force_exit:
            await self.lifespan.shutdown()

    def stop(self, *, at_once: bool = False) -> None:
        """Stop gracefully, or `at_once`."""
        self.force_exit = self.force_exit or at_once
        self.should_exit = True
