"""Spans of the gateway: one for each request, and one for each call to the service that generates images.

Names are those of OpenTelemetry's semantic conventions where they have some. Prompts are in a span only if they are in
the log, with `--log-prompts`.
"""

from __future__ import annotations

import json
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType

from tintype.v1.limits import SERVICE
from tintype.v1.tracing import TRACEPARENT, TRACESTATE

from .errors import ServiceError
from .http.response_headers import MONITORED_PATHS, logged_path
from .metrics import DISCONNECTED
from .upstream.client import ClientLayer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    from tintype.v1 import image_service_pb2 as pb
    from tintype.v1.tracing import Span, Tracer

    from .upstream.client import ImageClient

METHOD = f"{SERVICE}/StreamImages"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")  # others are `_OTHER`
OPERATION = {"gen_ai.operation.name": "generate_content", "gen_ai.output.type": "image"}


class RequestSpans:
    """ASGI middleware: a span of each request of `app`, except those of monitoring, which continues the client's trace.

    A response of 500 or more marks it as failed.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self.app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call `app` as a span."""
        if scope["type"] != ScopeType.HTTP or scope["path"] in MONITORED_PATHS:
            await self.app(scope, receive, send)
            return
        status = DISCONNECTED

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        with self._tracer.server(method, _headers(scope)) as span:
            try:
                await self.app(scope, receive, send_and_record)
            finally:
                if span.recording:
                    _describe(span, scope, method, status)


def _describe(span: Span, scope: Any, method: str, status: int) -> None:
    """Set what is known of a request at its end; the router has stored the route."""
    route, record = scope.get("path_template"), scope["state"].get("record")
    span.rename(f"{method} {route}" if route else method)
    span.set({"http.request.method": method, "url.scheme": scope.get("scheme"), "url.path": logged_path(scope)})
    span.set({"http.route": route, "http.response.status_code": status})
    if record:
        span.set({"tintype.request.id": record.id, "tintype.error.reason": record.error})
    if status >= 500:
        span.fail(str(status))


def _headers(scope: Any) -> dict[str, str]:
    """Return the headers of the trace; repeated ones are not valid, and are left out."""
    found: dict[str, str] = {}
    for name in (TRACEPARENT, TRACESTATE):
        values = [value for key, value in scope["headers"] if key == name.encode()]
        if len(values) == 1:
            found[name] = values[0].decode("latin-1")
    return found


class TracedClient(ClientLayer):
    """An ImageClient with a span of each request for images of `client`; with `prompts`, it has the prompt."""

    def __init__(self, client: ImageClient, tracer: Tracer, *, prompts: bool = False) -> None:
        super().__init__(client)
        self._tracer = tracer
        self._prompts = prompts

    async def generate(self, request: pb.StreamImagesRequest, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all images of a request, ordered by index. Raises ServiceError."""
        with self._span(request) as span:
            response = await self._client.generate(request, request_id)
            _record(span, response)
            return response

    async def stream(
        self, request: pb.StreamImagesRequest, request_id: str = ""
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Yield events, the last one `completed`; closing the generator cancels the request. Raises ServiceError."""
        with self._span(request) as span:
            async with aclosing(self._client.stream(request, request_id)) as events:
                async for event in events:
                    if event.HasField("completed"):
                        _record(span, event.completed)
                    yield event

    @contextmanager
    def _span(self, request: pb.StreamImagesRequest) -> Iterator[Span]:
        """Call the service inside the block, as a span."""
        with self._tracer.client(METHOD, {"rpc.system.name": "grpc", "rpc.method": METHOD}) as span:
            if span.recording:
                span.set(_attributes(request.generation, prompts=self._prompts))
            try:
                yield span
            except ServiceError as error:
                span.set({"tintype.error.reason": str(error.reason)})
                span.fail(str(error.reason))
                raise


def _attributes(request: pb.GenerateImagesRequest, *, prompts: bool) -> dict[str, Any]:
    message = [{"role": "user", "parts": [{"type": "text", "content": request.prompt}]}]
    return OPERATION | {
        "gen_ai.request.model": request.model,
        "gen_ai.request.choice.count": request.count if request.count > 1 else None,
        "gen_ai.request.seed": request.seed if request.HasField("seed") else None,
        "gen_ai.input.messages": json.dumps(message) if prompts else None,
    }


def _record(span: Span, done: pb.GenerateImagesResponse | pb.Completed) -> None:
    """Set what the service has made."""
    usage = done.usage
    span.set({"rpc.response.status_code": "OK", "gen_ai.response.model": done.model, "tintype.images": usage.images})
    span.set({"gen_ai.usage.input_tokens": usage.prompt_tokens})
