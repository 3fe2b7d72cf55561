"""One request for pictures: counted, read, and answered at once, bit by bit, or as it was before."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

from ..access.admission import admitted
from ..errors import BadRequest, ServiceError
from ..http.disconnect import until_disconnect
from ..http.receiving import forget, keep, keeping
from ..openapi import examples
from ..openapi.operation import EVENTS, FORM, JSON, TEXT, Answer, Media, Operation
from ..openapi.schemas import form
from . import progress
from .generation import generate, prepare
from .replay_buffer import Recording
from .reply import json_response
from .streaming import heard, record, stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar import Request, Response

    from ..context import Gateway
    from ..dialects import Dialect
    from .reply import Reply

KEY = "idempotency-key"
_LONGEST = 255  # characters of a key
_FAILURES = (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 501, 503, 504, 507)
_LIMITS = tuple(f"x-ratelimit-{what}-{of}" for of in ("requests", "images") for what in ("limit", "remaining", "reset"))
_NOTED = ("x-tintype-ignored", "x-tintype-model", "x-tintype-native-size", "idempotent-replayed", *_LIMITS)


def operation(dialect: Dialect) -> Operation:
    """Return the description of a route that makes pictures."""
    body = examples.request(dialect)
    asked = {JSON: Media(dialect.request_type, body)}
    if dialect.forms:
        asked[FORM] = Media(form(dialect.request_type, ("image", "mask")))
    told = {JSON: Media(dialect.response_type, examples.response(dialect, body))}
    headers = {KEY: TEXT | {"maxLength": _LONGEST, "description": "A repeat gets the same answer, without previews"}}
    if dialect.events:
        told[EVENTS] = Media({"description": "Events, whose data is JSON with the event's name as type"})
        headers[progress.HEADER] = TEXT | {
            "enum": ["true", "false"],
            "description": "Whether streams tell of each step",
        }
    return Operation(
        summary=dialect.summary,
        tag=dialect.name,
        request=asked,
        headers=headers,
        answers={200: Answer("The pictures", told, _NOTED)},
        errors=tuple(sorted({dialect.error(ServiceError("", status=one)).status for one in _FAILURES})),
    )


async def answer(gateway: Gateway, dialect: Dialect, request: Request[Any, Any, Any]) -> Response[Any]:
    """Answer one request in its dialect. Raises GatewayError."""
    gateway = admitted(gateway, request)
    key = request.headers.get(KEY, "")
    if key:
        return await _once(gateway, dialect, request, key)
    call = await prepare(gateway, dialect, request)
    if call.stream:
        return await stream(gateway, dialect, call, request)
    made = await until_disconnect(request.receive, generate(gateway, dialect, call, request))
    return _answered(made, again=False)


async def _once(gateway: Gateway, dialect: Dialect, request: Request[Any, Any, Any], key: str) -> Response[Any]:
    """Answer as the first request with this key was answered; a repeat is not even read."""
    if len(key) > _LONGEST:
        raise BadRequest(f"{KEY} must have at most {_LONGEST} characters, not {len(key)}.")
    said = (*(request.headers.get(name, "") for name in ("authorization", "api-key")), request.scope["path"], key)
    whose = hashlib.sha256(repr(said).encode()).digest()
    fingerprint = await asyncio.to_thread(_fingerprint, await keep(request), request)
    known = gateway.repeats.known(whose, fingerprint)
    if known is not None:
        return _answered(await until_disconnect(request.receive, asyncio.shield(known)), again=True)
    call = await prepare(gateway, dialect, request)
    forget(request)
    make = partial(_kept, record if call.stream else generate, gateway, dialect, call, request)
    made, again = await until_disconnect(request.receive, gateway.repeats.once(whose, fingerprint, make))
    return _answered(made, again=again)


async def _kept(make: Callable[..., Awaitable[Reply]], *of: Any) -> Reply:
    """Make an answer, and hold its request's resources until it is complete."""
    with keeping():
        return await make(*of)


def _answered(made: Reply, *, again: bool) -> Response[Any]:
    headers = made.headers | ({"idempotent-replayed": "true"} if again else {})
    if isinstance(made.body, Recording):
        return heard(made.body, headers, again=again)
    return json_response(made.body, headers)


def _fingerprint(body: bytes | bytearray, request: Request[Any, Any, Any]) -> bytes:
    """Return the fingerprint of a body, equal for each repeat.

    The boundaries of a form's parts are left out, since each repeat draws them anew. A large body takes tens
    of milliseconds: call it in a thread.
    """
    boundary = request.content_type[1].get("boundary")
    return hashlib.sha256(body.replace(boundary.encode(), b"") if boundary else body).digest()
