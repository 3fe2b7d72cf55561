"""Headers of every response (id, processing time, browser security) and the access log.

The middleware wraps the whole application, so responses of the router (404, 405) have the headers too. Repeated
slashes in the path count as one: a client's base URL that ends in a slash produces them.
"""

from __future__ import annotations

import logging
import re
import secrets
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType

from tintype.v1 import logs
from tintype.v1.tracing import current_span

from ..access_record import AccessRecord, pairs
from ..metrics import DISCONNECTED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("tintype.gateway.access")

# Monitoring requests these every few seconds; their successes are logged at level debug.
MONITORED_PATHS = ("/livez", "/readyz", "/health", "/metrics")

# Browsers must not treat a response as a page or a script, or embed it in one.
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
# A client's own id is used if it is harmless in headers and logs.
_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")
_SLASHES = re.compile(r"/{2,}")
MAX_LOGGED_PATH = 1024  # characters; a request's head may have 64 KiB, and spans wait for the collector in memory
_SIGNED_PATH = re.compile(r"/files/[^/]*/")


class ResponseHeaders:
    """ASGI middleware that adds the headers and logs each request; with `prompts`, the log includes prompts."""

    def __init__(self, app: ASGIApp, *, prompts: bool = False) -> None:
        self.app = app
        self._prompts = prompts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call `app`; add the headers to its response."""
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        scope["path"] = _SLASHES.sub("/", scope["path"])
        record = scope["state"]["record"] = AccessRecord(_request_id(scope), trace=current_span().trace_id)
        logs.set_ids(id=record.id)
        scope["state"]["request_id"] = record.id
        status = DISCONNECTED

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_headers(message["headers"], record, perf_counter() - started)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            self._log(scope, record, status, perf_counter() - started)

    def _log(self, scope: Any, record: AccessRecord, status: int, seconds: float) -> None:
        """Log one line."""
        path = raw_path(scope)
        values = {
            "id": record.id,
            "trace": record.trace,
            "key": record.key,
            "method": scope["method"],
            "path": logged_path(scope),
            "status": status,
            "error": record.error,
            "model": record.model,
            "images": record.images,
            "queue": record.queue,
            "run": record.run,
            "time": seconds,
        }
        values |= {"prompt": record.prompt} if self._prompts else {}
        is_quiet = (record.quiet or path in MONITORED_PATHS) and status in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED)
        log.log(logging.DEBUG if is_quiet else logging.INFO, "%s", pairs(values), extra={"pairs": values})


def raw_path(scope: Any) -> str:
    """Return the path as received (percent-encoded), without query."""
    return str(scope.get("raw_path") or b"", "ascii", "replace").partition("?")[0]


def logged_path(scope: Any) -> str:
    """Return the path without the signatures of links; of one that is longer, the first MAX_LOGGED_PATH characters."""
    path = _SIGNED_PATH.sub("/files/-/", raw_path(scope))
    return path[:MAX_LOGGED_PATH] + ("..." if path[MAX_LOGGED_PATH:] else "")


def _request_id(scope: Any) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return str(value, "ascii")
    return f"req_{secrets.token_hex(16)}"


def _with_headers(
    headers: Iterable[tuple[bytes, bytes]], record: AccessRecord, seconds: float
) -> list[tuple[bytes, bytes]]:
    """Return the response's headers and the added ones; a header that the response sets itself takes precedence."""
    own = list(headers)
    names = {name for name, _ in own}
    always = [(b"x-request-id", record.id.encode()), (b"openai-processing-ms", b"%d" % round(seconds * 1000))]
    added = [(name.encode(), value.encode()) for name, value in record.headers.items()]
    return [*own, *(item for item in (*SECURITY_HEADERS, *added) if item[0] not in names), *always]
