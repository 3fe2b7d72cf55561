"""Bounds on connections, and answers to half-closed ones.

- There are fewer than the system lets the process open files. When there are more, the ones that have had no request
  for the longest are closed; when all have one, a new connection gets 503, except for `/livez` and `/readyz`.
- A client may close its half behind its request and still gets the answer (RFC 9293, section 3.6). It looks the same
  when a client has left altogether. Only writing tells: so the first letters of the answer, which are the same for all,
  go ahead one by one, and if the client has left, its system objects. Within a stream zeros do, which may stand before
  the length of a chunk (RFC 9112, section 7.1).
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from ..dialects.openai import SERVER
from ..dialects.openai_types import ErrorBody, ErrorResponse
from ..errors import StartError
from .process import open_files
from .receive_timeout import Patient

if TYPE_CHECKING:
    import asyncio

    from ..config import GatewayConfig

log = logging.getLogger(__name__)

MOST = 4096  # connections, if the system allows as many
SPARE = 16  # connections beyond the bound, for those who ask whether the gateway is well
PROBES = ("/livez", "/readyz")
LETTERS = b"HTTP/1.1 "  # what every answer begins with
ZEROS = 6  # before one length at most: clients read 16 digits of it
FIRST, LATER = 0.1, 3  # seconds between the first two letters, and how many times as long it takes to each next one
_OFTEN = 60.0  # seconds between two warnings
_MESSAGE = "The gateway has as many connections as it takes. Try again in a moment."
_BODY = msgspec.json.encode(ErrorResponse(ErrorBody(message=_MESSAGE, type=SERVER, param=None, code=None)))
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(_BODY)),
    (b"retry-after", b"1"),
    (b"connection", b"close"),
]


class Connections:
    """The connections of one gateway, `most` at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._all: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # without a request, the longest first
        self._warned = -_OFTEN

    def enter(self, one: Connection) -> bool:
        """Take a new connection in.

        Return False if there are too many and none of them is idle.
        """
        self._all.add(one)
        self._idle[one] = None
        if len(self._all) <= self.most:
            return True
        oldest = next(iter(self._idle))
        self._warn()
        if oldest is one:
            return False
        self.leave(oldest)
        oldest.transport.abort()
        return True

    def leave(self, one: Connection) -> None:
        """Count a connection no more."""
        self._all.discard(one)
        self._idle.pop(one, None)

    def busy(self, one: Connection) -> None:
        """Note that a request has come."""
        self._idle.pop(one, None)

    def idle(self, one: Connection) -> None:
        """Note that all requests are answered."""
        if one in self._all:
            self._idle[one] = None

    @property
    def full(self) -> bool:
        """Whether there are too many connections even for health probes."""
        return len(self._all) > self.most + SPARE

    def _warn(self) -> None:
        if monotonic() - self._warned > _OFTEN:
            self._warned = monotonic()
            log.warning("there are more than %d connections: idle ones are closed (--max-connections)", self.most)


class Connection(Patient):
    """One connection of `known`."""

    known: Connections
    letters: asyncio.TimerHandle | None = None  # for the next letter

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it in, if there is room."""
        super().connection_made(transport)
        if not self.known.enter(self):
            self.app = _probed(self.app)
            if self.known.full:
                self.known.leave(self)
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let it go."""
        self.known.leave(self)
        if self.letters:
            self.letters.cancel()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """Begin a request."""
        self.known.busy(self)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """End a request, and perhaps the last one."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self.known.idle(self)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether to continue after the client has closed its half.

        That is so while its last request is complete and not yet answered.
        """
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        self.done_waiting()
        if self.letters is None:
            self._begin(0)
        return True

    def _begin(self, turn: int) -> None:
        """Write the next bytes of the answer slowly until it is complete."""
        if self.cycle.response_complete or self.transport.is_closing():
            return
        if not self.pipeline:  # else an answer to an earlier request comes first
            self._write_bit(turn)
        self.letters = self.loop.call_later(FIRST * LATER**turn, self._begin, turn + 1)

    def _write_bit(self, turn: int) -> None:
        ahead = self.transport.ahead  # 0 again behind `100 Continue`
        if not self.cycle.response_started:
            self.transport.write_ahead(LETTERS[ahead : ahead + 1])
        elif self.cycle.chunked_encoding and turn < ZEROS:
            self.transport.write(b"0")


def protocol(config: GatewayConfig, most: int) -> type[Connection]:
    """Return uvicorn's protocol for the connections of one gateway, at most `most`."""

    class Ours(Connection):
        seconds = config.receive_timeout
        known = Connections(most)

    return Ours


def bound(config: GatewayConfig) -> int:
    """Return how many connections there may be.

    Raises StartError where the system does not allow as many.
    """
    files = open_files()
    most = files * 3 // 4 - 2 * SPARE if files else MOST
    if config.max_connections > most and files:
        advice = "raise `ulimit -Hn`, or LimitNOFILE of a systemd unit"
        raise StartError(
            f"--max-connections must be at most {most}, since this process may open {files} files, "
            f"not {config.max_connections}: {advice}"
        )
    return config.max_connections or max(SPARE, min(MOST, most))


def _probed(app: Any) -> Any:
    """Return an application that serves the probes and answers 503 otherwise."""

    async def crowded(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 503, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _BODY})

    return crowded
