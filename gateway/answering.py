"""One request for pictures: counted, read, and answered at once, bit by bit, or as it was before."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from litestar import Request, Response

from .disconnect import until_disconnect
from .errors import BadRequest
from .generation import JSON, generate, peer, prepare
from .streaming import stream

if TYPE_CHECKING:
    from .dialects import Call, Dialect
    from .generation import Gateway

KEY = "idempotency-key"
_LONGEST = 255  # characters of a key


async def answer(gateway: Gateway, dialect: Dialect, request: Request[Any, Any, Any]) -> Response[Any]:
    """Answer one request in its dialect. Raises GatewayError."""
    counted = gateway.limits.take(peer(request))
    call = await prepare(gateway, dialect, request)
    if call.stream:
        answered: Response[Any] = await stream(gateway, dialect, call, request)
    else:
        answered = await until_disconnect(request.receive, _whole(gateway, dialect, call, request))
    answered.headers.update(counted)
    return answered


async def _whole(gateway: Gateway, dialect: Dialect, call: Call, request: Request[Any, Any, Any]) -> Response[bytes]:
    key = request.headers.get(KEY, "")
    if not key:
        return await generate(gateway, dialect, call, request)
    if len(key) > _LONGEST:
        raise BadRequest(f"{KEY} must have at most {_LONGEST} characters, not {len(key)}.")
    whose = (request.headers.get("authorization", ""), request.scope["path"], key)
    body = hashlib.sha256(await request.body()).digest()
    first, again = await gateway.repeats.once(whose, body, lambda: generate(gateway, dialect, call, request))
    headers = dict(first.headers) | ({"idempotent-replayed": "true"} if again else {})
    return Response(first.content, media_type=JSON, headers=headers)
