"""Finished answers to requests for images, and their HTTP responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from litestar import Response
from litestar.response import Stream

from ..http.body_limits import hold_bytes
from ..openapi.operation import JSON

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..http.response_body import JsonBody
    from .replay_buffer import ReplayBuffer

_SMALL = 2**18  # bytes that are sent in one piece


class Reply(NamedTuple):
    """Finished images as JSON, or a stream that has begun, with the headers of the response."""

    body: JsonBody | ReplayBuffer
    headers: dict[str, str]


def json_response(body: JsonBody, headers: dict[str, str]) -> Response[Any]:
    """Return the response with a body; a large one is sent in pieces."""
    if len(body) <= _SMALL:
        return Response(b"".join(body), media_type=JSON, headers=headers)
    hold_bytes(len(body), always=True)
    return Stream(_pieces(body), media_type=JSON, headers=headers | {"content-length": str(len(body))})


async def _pieces(body: JsonBody) -> AsyncGenerator[bytes]:
    """Yield the pieces, without a thread: encoding a piece takes less time than switching to one."""
    for piece in body:
        yield piece
