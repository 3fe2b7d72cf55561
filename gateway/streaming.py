"""One request for pictures that come bit by bit, as server-sent events.

- What goes wrong before the first event of the service is an answer with its status, as without a stream; after it, an
  event `error`.
- `data: [DONE]` is the end, whatever came before.
- Silence is broken by comments, so that no proxy takes the connection for dead.
- When the client leaves, the generator is closed, and with it the call to the service.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from litestar.response import Stream

from tintype.v1 import image_service_pb2 as pb

from . import progress
from .disconnect import until_disconnect
from .errors import Fault, GatewayError, NotServed, ServiceError
from .generation import granted, ignored_header, model_header
from .imagefile import size
from .previews import MIME_TYPE, enlarged, size_like
from .silence import or_silence

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from litestar import Request

    from .dialects import Call, Dialect, Events
    from .generation import Gateway
    from .visit import Visit

log = logging.getLogger(__name__)

KEEP_ALIVE = 10.0  # seconds of silence before a comment
PING, DONE = b": ping\n\n", b"data: [DONE]\n\n"
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # the second tells nginx not to wait for more


@dataclass(frozen=True, slots=True)
class Opened:
    """Events of the service, of which the first is there; `size` is the picture's, where previews are wanted.

    `model` is the one that draws, where the client's name for it may be another.
    """

    first: pb.StreamImagesResponse
    rest: AsyncGenerator[pb.StreamImagesResponse]
    size: tuple[int, int]
    model: str


async def stream(gateway: Gateway, dialect: Dialect, call: Call, request: Request[Any, Any, Any]) -> Stream:
    """Answer one request in its dialect, event by event. Raises GatewayError."""
    if dialect.events is None:
        raise NotServed("stream", "is not what this vendor has: leave it out, or set it to false")
    asked = call.request.model
    opening = granted(gateway, call, lambda: _open(gateway, call, asked, request.state.request_id))
    opened, dropped = await until_disconnect(request.receive, opening)
    headers = HEADERS | ignored_header([*call.ignored, *dropped]) | model_header(asked, opened.model)
    wordy = request.headers.get(progress.HEADER) == "true"
    told = _events(opened, dialect.events, call, wordy=wordy)
    return Stream(
        _to_the_end(told, dialect, call, request.state.visit), media_type="text/event-stream", headers=headers
    )


async def _open(gateway: Gateway, call: Call, asked: str, request_id: str) -> Opened:
    """Ask the service and wait for its first event; `asked` is the client's name for the model."""
    model = call.request.model
    if asked and not model:  # the headers go before the service says which model that was
        model = (await gateway.client.model("")).name
    size = await _size(gateway, call) if call.previews else (0, 0)
    wanted = pb.Previews(count=call.previews, mime_type=MIME_TYPE) if call.previews else None
    events = gateway.client.stream(call.request, wanted, request_id)
    return Opened(await anext(events), events, size, model)


async def _size(gateway: Gateway, call: Call) -> tuple[int, int]:
    """Return the width and height that the picture will have, where none was asked for that of its origin or model."""
    asked = call.request
    if asked.width and asked.height:
        return asked.width, asked.height
    if asked.image:
        return size_like(size(asked.image), asked.width, asked.height)
    defaults = (await gateway.client.model(asked.model)).defaults
    return asked.width or defaults.width, asked.height or defaults.height


async def _to_the_end(told: AsyncGenerator[bytes], dialect: Dialect, call: Call, visit: Visit) -> AsyncGenerator[bytes]:
    """Yield what is told, then why it broke off, if it did, and that it is over."""
    try:
        async with aclosing(told):
            async for event in told:
                yield event
    except GatewayError as error:
        visit.failed(error)
        yield _failed(dialect, error.named(call.names) if isinstance(error, ServiceError) else error)
    except Exception:
        log.exception("%s: a stream broke off", visit.id)
        visit.failed(Fault())
        yield _failed(dialect, Fault())
    yield DONE


async def _events(opened: Opened, telling: Events, call: Call, *, wordy: bool) -> AsyncGenerator[bytes]:
    left = call.request.count or 1
    held = pb.Image()  # the last picture waits for the usage of all
    async with aclosing(or_silence(_all(opened), KEEP_ALIVE)) as events:
        async for event in events:
            now = int(time.time())
            if event is None:
                yield PING
            elif event.HasField("preview"):
                mime_type = call.request.output.mime_type
                preview = await asyncio.to_thread(enlarged, event.preview, opened.size, mime_type)
                yield _framed(telling.partial(preview, call, now))
            elif event.HasField("image"):
                left, held = left - 1, event.image
                if left:
                    yield _framed(telling.completed(held, pb.Usage(), call, now))
            elif event.HasField("completed"):
                if left:
                    raise ServiceError("The image service has not made all pictures.", status=500, reason="INTERNAL")
                yield _framed(telling.completed(held, event.completed.usage, call, now))
            elif wordy and (way := progress.told(event)):
                yield _framed(way)


async def _all(opened: Opened) -> AsyncGenerator[pb.StreamImagesResponse]:
    async with aclosing(opened.rest):
        yield opened.first
        async for event in opened.rest:
            yield event


def _framed(event: Any) -> bytes:
    return b"".join((b"event: ", event.type.encode(), b"\ndata: ", msgspec.json.encode(event), b"\n\n"))


def _failed(dialect: Dialect, error: GatewayError) -> bytes:
    return b"event: error\ndata: " + msgspec.json.encode(dialect.error(error).body) + b"\n\n"
