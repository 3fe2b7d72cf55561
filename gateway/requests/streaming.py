"""One request for pictures that come bit by bit, as server-sent events.

- What goes wrong before the first event of the service is an answer with its status, as without a stream; after it, an
  event `error`.
- `data: [DONE]` is the end, whatever came before.
- Silence is broken by comments, so that no proxy takes the connection for dead.
- When the client leaves, the generator is closed, and with it the call to the service; unless it is recorded, since
  then the client means to come back.
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

from tintype.v1 import image_header
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.reasons import Reason

from ..errors import Fault, GatewayError, NotServed, ServiceError
from ..http.disconnect import until_disconnect
from ..http.keepalive import or_silence
from ..uploads.previews import MIME_TYPE, enlarged, size_like
from . import progress
from .generation import granted, ignored_header, model_header
from .replay_buffer import Kind, Recording, Told
from .reply import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from litestar import Request

    from ..access_record import AccessRecord
    from ..context import Gateway
    from ..dialects import Call, Dialect, Events

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
    told, headers = await until_disconnect(request.receive, _begin(gateway, dialect, call, request))
    return _sent(_data(told), headers)


async def record(gateway: Gateway, dialect: Dialect, call: Call, request: Request[Any, Any, Any]) -> Reply:
    """Begin a stream that is recorded, and so goes on to its end whoever listens. Raises GatewayError."""
    told, headers = await _begin(gateway, dialect, call, request)
    return Reply(Recording(told), headers)


def heard(recording: Recording, headers: dict[str, str], *, again: bool) -> Stream:
    """Answer with a recorded stream: with all of it, or `again` with its pictures."""
    return _sent(_unbroken(recording.again()) if again else recording.first(), headers)


def _sent(events: AsyncGenerator[bytes], headers: dict[str, str]) -> Stream:
    return Stream(_ended(events), media_type="text/event-stream", headers=HEADERS | headers)


async def _begin(
    gateway: Gateway, dialect: Dialect, call: Call, request: Request[Any, Any, Any]
) -> tuple[AsyncGenerator[Told], dict[str, str]]:
    """Return what will be told, and the headers that go before."""
    if dialect.events is None:
        raise NotServed("stream", "is not what this vendor has: leave it out, or set it to false")
    asked = call.request.model
    opened, dropped = await granted(gateway, call, lambda: _open(gateway, call, asked, request.state.request_id))
    headers = ignored_header([*call.unused, *dropped]) | model_header(asked, opened.model)
    wordy = request.headers.get(progress.HEADER) == "true"
    told = _events(opened, dialect.events, call, wordy=wordy)
    return _with_failure(told, dialect, call, request.state.record), headers


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
        return size_like(image_header.check(asked.image).size, asked.width, asked.height)
    defaults = (await gateway.client.model(asked.model)).defaults
    return asked.width or defaults.width, asked.height or defaults.height


async def _data(told: AsyncGenerator[Told]) -> AsyncGenerator[bytes]:
    async with aclosing(told):
        async for event in told:
            yield event.data


async def _unbroken(events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(or_silence(events, KEEP_ALIVE)) as heard:
        async for event in heard:
            yield PING if event is None else event


async def _ended(events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        async for event in events:
            yield event
    yield DONE


async def _with_failure(
    told: AsyncGenerator[Told], dialect: Dialect, call: Call, record: AccessRecord
) -> AsyncGenerator[Told]:
    """Yield what is told, then why it broke off, if it did."""
    try:
        async with aclosing(told):
            async for event in told:
                yield event
    except GatewayError as error:
        record.fail(error)
        yield _failed(dialect, error.named(call.names) if isinstance(error, ServiceError) else error)
    except Exception:
        log.exception("%s: a stream broke off", record.id)
        record.fail(Fault())
        yield _failed(dialect, Fault())


async def _events(opened: Opened, telling: Events, call: Call, *, wordy: bool) -> AsyncGenerator[Told]:
    left = call.request.count or 1
    held = pb.Image()  # the last picture waits for the usage of all
    async with aclosing(or_silence(_all(opened), KEEP_ALIVE)) as events:
        async for event in events:
            now = int(time.time())
            if event is None:
                yield Told(PING)
            elif event.HasField("preview"):
                mime_type = call.request.output.mime_type
                preview = await asyncio.to_thread(enlarged, event.preview, opened.size, mime_type)
                yield Told(_framed(telling.partial(preview, call, now)))
            elif event.HasField("image"):
                left, held = left - 1, event.image
                if left:
                    yield Told(_framed(telling.completed(held, pb.Usage(), call, now)), Kind.PICTURE)
            elif event.HasField("completed"):
                if left:
                    raise ServiceError(
                        "The image service has not made all pictures.", status=500, reason=Reason.INTERNAL
                    )
                yield Told(_framed(telling.completed(held, event.completed.usage, call, now)), Kind.PICTURE)
            elif wordy and (way := progress.told(event)):
                yield Told(_framed(way))


async def _all(opened: Opened) -> AsyncGenerator[pb.StreamImagesResponse]:
    async with aclosing(opened.rest):
        yield opened.first
        async for event in opened.rest:
            yield event


def _framed(event: Any) -> bytes:
    return b"".join((b"event: ", event.type.encode(), b"\ndata: ", msgspec.json.encode(event), b"\n\n"))


def _failed(dialect: Dialect, error: GatewayError) -> Told:
    return Told(b"event: error\ndata: " + msgspec.json.encode(dialect.error(error).body) + b"\n\n", Kind.FAILURE)
