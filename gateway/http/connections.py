"""Limit on the number of connections, and responses on half-closed ones.

- The limit is lower than the number of files that the process may open. Above it, the connection that has been idle
  the longest is closed. If none is idle, a new connection gets 503, except for `/livez` and `/readyz`.
- A client may close its half of the connection after its request and still gets the response (RFC 9293, section 3.6).
  A client that has disconnected completely looks the same; only a write shows the difference, because the system of a
  client that has left rejects it. So the first letters of the response, which are always the same, are written early,
  one by one. Within a stream, zeros are written, which may precede the length of a chunk (RFC 9112, section 7.1).
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from ..dialects.openai import SERVER_ERROR
from ..dialects.openai_types import ErrorBody, ErrorResponse
from ..errors import StartError
from .process import open_files
from .receive_timeout import TimedConnection

if TYPE_CHECKING:
    import asyncio

    from ..config import GatewayConfig

log = logging.getLogger(__name__)

MOST = 4096  # connections, if the system allows as many
SPARE = 16  # connections above the limit, reserved for health probes
PROBES = ("/livez", "/readyz")
LETTERS = b"HTTP/1.1 "  # the first bytes of every response
ZEROS = 6  # most zeros before one chunk length: clients read 16 digits
FIRST, LATER = 0.1, 3  # seconds between the first two letters; each later interval is three times the one before
_OFTEN = 60.0  # seconds between two warnings
_MESSAGE = "The gateway has reached its connection limit. Try again in a moment."
_BODY = msgspec.json.encode(ErrorResponse(ErrorBody(message=_MESSAGE, type=SERVER_ERROR, param=None, code=None)))
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(_BODY)),
    (b"retry-after", b"1"),
    (b"connection", b"close"),
]


class Connections:
    """The connections of one gateway, at most `most` at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._all: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # without a request, longest idle first
        self._warned = -_OFTEN

    def add(self, one: Connection) -> bool:
        """Add a new connection; return False if there are too many and no other one is idle."""
        self._all.add(one)
        self._idle[one] = None
        if len(self._all) <= self.most:
            return True
        oldest = next(iter(self._idle))
        self._warn()
        if oldest is one:
            return False
        self.remove(oldest)
        oldest.transport.abort()
        return True

    def remove(self, one: Connection) -> None:
        """Remove a connection."""
        self._all.discard(one)
        self._idle.pop(one, None)

    def mark_busy(self, one: Connection) -> None:
        """Note that a request has arrived."""
        self._idle.pop(one, None)

    def mark_idle(self, one: Connection) -> None:
        """Note that all requests are answered."""
        if one in self._all:
            self._idle[one] = None

    @property
    def is_full(self) -> bool:
        """Whether there are too many connections even for health probes."""
        return len(self._all) > self.most + SPARE

    def _warn(self) -> None:
        if monotonic() - self._warned > _OFTEN:
            self._warned = monotonic()
            log.warning("more than %d connections: closing idle ones (--max-connections)", self.most)


class Connection(TimedConnection):
    """One connection, counted in `known`."""

    known: Connections
    letter_timer: asyncio.TimerHandle | None = None  # writes the next letter

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add the connection; if there are too many, serve probes only, or abort it."""
        super().connection_made(transport)
        if not self.known.add(self):
            self.app = _only_probes(self.app)
            if self.known.is_full:
                self.known.remove(self)
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection and stop its timer."""
        self.known.remove(self)
        if self.letter_timer:
            self.letter_timer.cancel()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """Note the beginning of a request."""
        self.known.mark_busy(self)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Note the end of a response; the connection is idle if no request is left."""
        super().on_response_complete()
        if not self.is_answering:
            self.known.mark_idle(self)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether the connection stays open after the client has closed its half.

        It does while the last request is complete and its response is not.
        """
        if not self.is_answering or self.is_body_incomplete:
            return False
        self.close_after_response()
        self.stop_head_timer()
        if self.letter_timer is None:
            self._write_letters(0)
        return True

    def _write_letters(self, turn: int) -> None:
        """Write the next byte of the response early, then again later, until the response is complete."""
        if not self.is_answering or self.transport.is_closing():
            return
        if not self.is_pipelining:  # otherwise the response to an earlier request comes first
            self._write_letter(turn)
        self.letter_timer = self.loop.call_later(FIRST * LATER**turn, self._write_letters, turn + 1)

    def _write_letter(self, turn: int) -> None:
        ahead = self.transport.ahead  # 0 again after `100 Continue`
        if not self.is_response_started:
            self.transport.write_ahead(LETTERS[ahead : ahead + 1])
        elif self.is_chunked and turn < ZEROS:
            self.transport.write(b"0")


def connection_class(config: GatewayConfig, most: int) -> type[Connection]:
    """Return the protocol class for the connections of one gateway, at most `most`."""

    class GatewayConnection(Connection):
        seconds = config.receive_timeout
        known = Connections(most)

    return GatewayConnection


def connection_limit(config: GatewayConfig) -> int:
    """Return the limit of connections. Raises StartError if the configured one exceeds what the system allows."""
    files = open_files()
    most = files * 3 // 4 - 2 * SPARE if files else MOST
    if config.max_connections > most and files:
        advice = "raise `ulimit -Hn`, or LimitNOFILE of a systemd unit"
        raise StartError(
            f"--max-connections must be at most {most} where the process may open {files} files, "
            f"not {config.max_connections}: {advice}"
        )
    return config.max_connections or max(SPARE, min(MOST, most))


def _only_probes(app: Any) -> Any:
    """Return an application that serves health probes and answers other requests with 503."""

    async def probes(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 503, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _BODY})

    return probes
