"""CORS (Fetch standard) for the whole application.

- A page of an origin that is not allowed gets no CORS header, so its browser withholds the response.
- A preflight response repeats the requested methods and headers, because `*` does not cover `Authorization`. A
  preflight needs no key.
- Credentials are never allowed: the gateway uses no cookies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.enums import ScopeType

from tintype.v1.rates import COUNTED, header_names

from .browsers import Origins

if TYPE_CHECKING:
    from collections.abc import Collection

    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    Headers = list[tuple[bytes, bytes]]

MAX_AGE = b"7200"  # seconds that browsers cache a preflight response; no browser caches it longer
EXPOSED = ", ".join(
    (
        *("x-request-id", "openai-processing-ms", "retry-after", "retry-after-ms", "x-should-retry"),
        *("x-tintype-ignored", "x-tintype-model", "x-tintype-native-size", "idempotent-replayed"),
        *("location", "preference-applied"),
        *(name for unit in COUNTED for name in header_names(unit)),
    )
).encode()
# Headers of a preflight request, and the response headers that repeat their values.
PREFLIGHT_HEADERS = {
    b"access-control-request-method": b"access-control-allow-methods",
    b"access-control-request-headers": b"access-control-allow-headers",
    b"access-control-request-private-network": b"access-control-allow-private-network",
}


class Cors:
    """ASGI middleware that lets pages of `origins` call `app`; `*` allows any origin."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self.app = app
        self._origins = Origins(origins)
        self._allows_all = self._origins.allows_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer preflights; pass other requests to `app` and add CORS headers to its response."""
        headers = dict(scope["headers"]) if scope["type"] == ScopeType.HTTP else {}
        if scope["type"] == ScopeType.HTTP and _is_preflight(scope["method"], headers):
            await _send_preflight_response(send, self._preflight_headers(headers))
            return
        allowed = self._allowed(headers.get(b"origin"))

        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                exposed = [(b"access-control-expose-headers", EXPOSED)] if allowed else []
                message["headers"] = [*message["headers"], *allowed, *exposed, *self._vary()]
            await send(message)

        await self.app(scope, receive, send_with_cors)

    def _allowed(self, origin: bytes | None) -> Headers:
        """Return the header that lets pages of `origin` read the response; empty if they may not."""
        if origin is None or str(origin, "latin-1") not in self._origins:
            return []
        return [(b"access-control-allow-origin", b"*" if self._allows_all else origin)]

    def _preflight_headers(self, headers: dict[bytes, bytes]) -> Headers:
        """Return the headers of a preflight response."""
        allowed = self._allowed(headers[b"origin"])
        if not allowed:
            return self._vary()
        repeated = [
            (response_name, headers[request_name])
            for request_name, response_name in PREFLIGHT_HEADERS.items()
            if request_name in headers
        ]
        return [*allowed, *repeated, (b"access-control-max-age", MAX_AGE), *self._vary()]

    def _vary(self) -> Headers:
        """Return the header that stops caches from serving one origin's response to another."""
        return [(b"vary", b"origin")] if self._origins.allows_some and not self._allows_all else []


def _is_preflight(method: str, headers: dict[bytes, bytes]) -> bool:
    return method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers


async def _send_preflight_response(send: Send, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
