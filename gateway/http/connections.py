"""Limit on the number of connections, and responses on half-closed ones.

- The limit is lower than the number of files that the process may open. Above it, the connection that has been idle
  the longest is closed. If none is idle, a new connection gets 503, except for health probes.
- A client may close its half of the connection after its request and still gets the response (RFC 9293, section 3.6).
  A client that has disconnected completely looks the same. Only a write shows the difference: the client's system
  rejects it. So the first bytes of the response, which are always the same, are written early, one by one. Within a
  stream, zeros are written, which may precede the length of a chunk (RFC 9112, section 7.1).
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..dialects.openai import SERVER_ERROR
from ..dialects.openai_types import ErrorBody, ErrorResponse
from ..errors import StartError
from .process import open_file_limit
from .receive_timeout import TimedConnection

if TYPE_CHECKING:
    import asyncio

    from ..config import GatewayConfig

log = logging.getLogger(__name__)

DEFAULT_LIMIT = 4096  # connections, if the system allows as many
PROBE_RESERVE = 16  # connections above the limit, reserved for health probes
PROBES = ("/livez", "/readyz", "/health")
STATUS_LINE_START = b"HTTP/1.1 "  # the first bytes of every response
MAX_ZEROS = 6  # most zeros before one chunk length: clients read 16 digits
FIRST_INTERVAL = 0.1  # seconds between the first two bytes that are written early
INTERVAL_FACTOR = 3  # each later interval is longer by this factor
_WARNING_INTERVAL = 60.0  # seconds between two warnings
_MESSAGE = "The gateway has reached its connection limit. Try again in a moment."
_BODY = msgspec.json.encode(ErrorResponse(ErrorBody(message=_MESSAGE, type=SERVER_ERROR, param=None, code=None)))
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(_BODY)),
    (b"retry-after", b"1"),
    (b"connection", b"close"),
]


class Counted(Protocol):
    """A connection, or the TLS handshake of one."""

    transport: Any


class Connections:
    """The connections of one gateway, at most `limit` at once, handshakes included."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._all: set[Counted] = set()
        self._idle: dict[Counted, None] = {}  # without a request, longest idle first
        self._last_warning = -_WARNING_INTERVAL

    def add(self, connection: Counted) -> bool:
        """Add a new connection; return False if there are too many and no other one is idle."""
        self._all.add(connection)
        self._idle[connection] = None
        if len(self._all) <= self.limit:
            return True
        oldest = next(iter(self._idle))
        self._warn()
        if oldest is connection:
            return False
        self.remove(oldest)
        oldest.transport.abort()
        return True

    def remove(self, connection: Counted) -> None:
        """Remove a connection."""
        self._all.discard(connection)
        self._idle.pop(connection, None)

    def mark_busy(self, connection: Counted) -> None:
        """Note that a request has arrived."""
        self._idle.pop(connection, None)

    def mark_idle(self, connection: Counted) -> None:
        """Note that all requests are answered."""
        if connection in self._all:
            self._idle[connection] = None

    @property
    def is_full(self) -> bool:
        """Whether there are too many connections even for health probes."""
        return len(self._all) > self.limit + PROBE_RESERVE

    def _warn(self) -> None:
        if monotonic() - self._last_warning > _WARNING_INTERVAL:
            self._last_warning = monotonic()
            log.warning("more than %d connections: closing idle ones (--max-connections)", self.limit)


class Connection(TimedConnection):
    """One connection, counted in `registry`."""

    registry: Connections
    early_byte_timer: asyncio.TimerHandle | None = None  # writes the next byte

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add the connection; if there are too many, serve probes only, or abort it."""
        super().connection_made(transport)
        if not self.registry.add(self):
            self.app = _serve_only_probes(self.app)
            if self.registry.is_full:
                self.registry.remove(self)
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection and stop its timer."""
        self.registry.remove(self)
        if self.early_byte_timer:
            self.early_byte_timer.cancel()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """Note the beginning of a request."""
        self.registry.mark_busy(self)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Note the end of a response; the connection is idle if no request is left."""
        super().on_response_complete()
        if not self.is_answering:
            self.registry.mark_idle(self)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether the connection stays open after the client has closed its half.

        It stays open if the last request is complete and its response is not.
        """
        if not self.is_answering or self.is_body_incomplete or not self.transport.can_write_eof():
            return False  # with TLS asyncio closes both halves
        self.close_after_response()
        self.stop_head_timer()
        if self.early_byte_timer is None:
            self._probe_client(0)
        return True

    def _probe_client(self, turn: int) -> None:
        """Find out whether the client is connected, by an early byte; repeat until the response is complete."""
        if not self.is_answering or self.transport.is_closing():
            return
        if not self.is_pipelining:  # otherwise the response to an earlier request comes first
            self._write_early_byte(turn)
        interval = FIRST_INTERVAL * INTERVAL_FACTOR**turn
        self.early_byte_timer = self.loop.call_later(interval, self._probe_client, turn + 1)

    def _write_early_byte(self, turn: int) -> None:
        ahead = self.transport.bytes_ahead  # 0 again after `100 Continue`
        if not self.is_response_started:
            self.transport.write_ahead(STATUS_LINE_START[ahead : ahead + 1])
        elif self.is_chunked and turn < MAX_ZEROS:
            self.transport.write(b"0")


def connection_class(config: GatewayConfig, limit: int) -> type[Connection]:
    """Return the protocol class for the connections of one gateway, at most `limit`."""

    class GatewayConnection(Connection):
        seconds = config.receive_timeout
        registry = Connections(limit)

    return GatewayConnection


def connection_limit(config: GatewayConfig) -> int:
    """Return the limit of connections. Raises StartError if the configured one exceeds what the system allows."""
    files = open_file_limit()
    limit = files * 3 // 4 - 2 * PROBE_RESERVE if files else DEFAULT_LIMIT
    if config.max_connections > limit and files:
        advice = "raise `ulimit -Hn`, or LimitNOFILE of a systemd unit"
        raise StartError(
            f"--max-connections must be at most {limit} where the process may open {files} files, "
            f"not {config.max_connections}: {advice}"
        )
    return config.max_connections or max(PROBE_RESERVE, min(DEFAULT_LIMIT, limit))


def _serve_only_probes(app: Any) -> Any:
    """Return an application that serves health probes and answers other requests with 503."""

    async def probes(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 503, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _BODY})

    return probes
