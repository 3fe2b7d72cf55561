"""Error handlers: every error is answered in the dialect of the request's path."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException

from . import sdapi
from .access.rejections import BodyTooLarge
from .context import AnyRequest  # noqa: TC001 - Litestar reads it
from .errors import BadRequest, Fault, GatewayError, NoSuchMethod, NoSuchPath
from .openapi.operation import JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from litestar.types import Send

    from .dialects import Dialect

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ErrorHandlers:
    """The dialects by path, and the default one for other paths."""

    dialects: Mapping[str, Dialect]
    default: Dialect

    def handlers(self) -> dict[int | type[Exception], Callable[[AnyRequest, Any], Response[bytes]]]:
        """Return the handlers by exception class."""
        return {GatewayError: self.answer, HTTPException: self.answer_routing_error, Exception: self.answer_unexpected}

    def answer(self, request: AnyRequest, error: GatewayError) -> Response[bytes]:
        """Answer an error of the gateway."""
        status, headers, body = self.render(request.scope, error)
        return Response(body, status_code=status, media_type=JSON, headers=headers)

    async def send(self, scope: Any, error: GatewayError, send: Send) -> None:
        """Answer an error that a middleware raised before the application was called."""
        status, headers, body = self.render(scope, error)
        named = headers | {"content-type": JSON, "content-length": str(len(body))}
        encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in named.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def render(self, scope: Any, error: GatewayError) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an error in its path's dialect."""
        scope["state"]["record"].fail(error)
        scope["state"]["error"] = error
        return self.render_at(scope["path"], error)

    def render_at(self, path: str, error: GatewayError) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an error in a path's dialect."""
        failure = sdapi.error(error) if path.startswith(sdapi.PREFIXES) else self.dialect_of(path).error(error)
        return failure.status, dict(error.headers) | failure.headers, msgspec.json.encode(failure.body)

    def answer_routing_error(self, request: AnyRequest, error: HTTPException) -> Response[bytes]:
        """Answer an error of the router."""
        path, method = request.scope["path"][:200], request.method
        if error.status_code == 404:
            return self.answer(request, NoSuchPath(f"Nothing is served at {path}."))
        if error.status_code == 405:
            allow = (error.headers or {}).get("allow", "")
            return self.answer(request, NoSuchMethod(f"{path} does not allow {method}; it allows {allow}.", allow))
        if error.status_code == 413:
            limit = request.app.request_max_body_size
            return self.answer(request, BodyTooLarge(f"The body must have at most {limit} bytes."))
        return self.answer(request, BadRequest(error.detail) if error.status_code < 500 else Fault())

    def answer_unexpected(self, request: AnyRequest, error: Exception) -> Response[bytes]:
        """Answer an unexpected exception with 500."""
        log.error("%s: unexpected %s", request.state.request_id, type(error).__name__, exc_info=error)
        return self.answer(request, Fault())

    def dialect_of(self, path: str) -> Dialect:
        """Return the dialect of a path, or of the vendor whose name begins the path; otherwise the default."""
        vendors = (dialect for dialect in self.dialects.values() if path.startswith(f"/{dialect.name}/"))
        return self.dialects.get(path.rstrip("/")) or next(vendors, self.default)
