"""The handler of requests for images: rate limit, parsing, and the response as JSON, as SSE, or from the cache."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

from tintype.v1.rates import COUNTED, header_names

from ..access.admission import admit
from ..errors import BadRequest, ServiceError
from ..http.body_limits import drop_body, extend_hold, store_body
from ..http.disconnect import cancel_on_disconnect
from ..openapi import examples
from ..openapi.operation import EVENTS, FORM, JSON, TEXT, Media, Operation, ResponseDoc
from ..openapi.schemas import form_schema
from . import progress
from .generation import generate, parse
from .replay_buffer import ReplayBuffer
from .reply import json_response
from .streaming import replay, start_recording, stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar import Request, Response

    from ..context import CallerContext, Gateway
    from ..dialects import Dialect
    from .generation import ParsedRequest
    from .reply import Reply

KEY_HEADER = "idempotency-key"
_MAX_KEY_CHARS = 255  # characters of a key
_ERROR_STATUSES = (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 501, 503, 504, 507)
_RATE_HEADERS = tuple(name for unit in COUNTED for name in header_names(unit))
_RESPONSE_HEADERS = (
    "x-tintype-ignored",
    "x-tintype-model",
    "x-tintype-native-size",
    "idempotent-replayed",
    *_RATE_HEADERS,
)


def operation(dialect: Dialect) -> Operation:
    """Return the API description of a dialect's route."""
    body = examples.request(dialect)
    requests = {JSON: Media(dialect.request_type, body)}
    if dialect.forms:
        requests[FORM] = Media(form_schema(dialect.request_type, ("image", "mask")))
    responses = {JSON: Media(dialect.response_type, examples.response(dialect, body))}
    headers = {
        KEY_HEADER: TEXT
        | {"maxLength": _MAX_KEY_CHARS, "description": "A repeated request gets the same response, without previews"}
    }
    if dialect.events:
        responses[EVENTS] = Media({"description": "Events, whose data is JSON with the event's name as type"})
        headers[progress.HEADER] = TEXT | {
            "enum": ["true", "false"],
            "description": "Whether streams report each step",
        }
    return Operation(
        summary=dialect.summary,
        tag=dialect.name,
        request=requests,
        headers=headers,
        responses={200: ResponseDoc("The images", responses, _RESPONSE_HEADERS)},
        errors=tuple(sorted({dialect.error(ServiceError("", status=one)).status for one in _ERROR_STATUSES})),
    )


async def handle(gateway: Gateway, dialect: Dialect, request: Request[Any, Any, Any]) -> Response[Any]:
    """Answer one request in its dialect. Raises GatewayError."""
    context = admit(gateway, request)
    key = request.headers.get(KEY_HEADER, "")
    if key:
        return await _handle_idempotent(context, dialect, request, key)
    parsed = await parse(context, dialect, request)
    if parsed.call.stream:
        return await stream(parsed)
    return _response(await cancel_on_disconnect(request.receive, generate(parsed)), repeated=False)


async def _handle_idempotent(
    context: CallerContext, dialect: Dialect, request: Request[Any, Any, Any], key: str
) -> Response[Any]:
    """Answer with the response to the first request that has this key; a repeated request is not parsed."""
    if len(key) > _MAX_KEY_CHARS:
        raise BadRequest(f"{KEY_HEADER} must have at most {_MAX_KEY_CHARS} characters, not {len(key)}.")
    sender = (*(request.headers.get(name, "") for name in ("authorization", "api-key")), request.scope["path"], key)
    cache_key = hashlib.sha256(repr(sender).encode()).digest()
    fingerprint = await asyncio.to_thread(_fingerprint, await store_body(request), request)
    cache = context.gateway.idempotency
    cached = cache.find(cache_key, fingerprint)
    if cached is not None:
        return _response(await cancel_on_disconnect(request.receive, asyncio.shield(cached)), repeated=True)
    parsed = await parse(context, dialect, request)
    drop_body(request)
    work = partial(_make_with_held_memory, start_recording if parsed.call.stream else generate, parsed)
    reply, repeated = await cancel_on_disconnect(request.receive, cache.get_or_run(cache_key, fingerprint, work))
    return _response(reply, repeated=repeated)


async def _make_with_held_memory(make: Callable[[ParsedRequest], Awaitable[Reply]], parsed: ParsedRequest) -> Reply:
    """Make a reply; count the request's memory until then, even if the client disconnects."""
    with extend_hold():
        return await make(parsed)


def _response(reply: Reply, *, repeated: bool) -> Response[Any]:
    headers = reply.headers | ({"idempotent-replayed": "true"} if repeated else {})
    if isinstance(reply.body, ReplayBuffer):
        return replay(reply.body, headers, repeated=repeated)
    return json_response(reply.body, headers)


def _fingerprint(body: bytes | bytearray, request: Request[Any, Any, Any]) -> bytes:
    """Return the fingerprint of a body, equal for each repeated request.

    The boundary of a form is left out, since each request draws a new one. A large body takes tens of milliseconds:
    call it in a thread.
    """
    boundary = request.content_type[1].get("boundary")
    return hashlib.sha256(body.replace(boundary.encode(), b"") if boundary else body).digest()
