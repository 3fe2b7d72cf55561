"""Image requests that are answered with a stream of server-sent events.

- An error before the service's first event is answered with its HTTP status, as without a stream. A later error is an
  event `error`.
- The last line is always `data: [DONE]`.
- After a period without events a comment is sent, so that no proxy closes the connection.
- When the client disconnects, the generator is closed, which cancels the call of the service. A stream with an
  idempotency key continues, because its client is expected to repeat the request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from litestar.response import Stream

from tintype.v1 import image_header
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.reasons import Reason

from ..errors import Fault, GatewayError, NotServed, ServiceError
from ..http.disconnect import cancel_on_disconnect
from ..uploads.previews import MIME_TYPE, enlarge_preview, size_from_start_image
from . import progress
from .generation import call_service, ignored_header, model_header
from .replay_buffer import EventKind, ReplayBuffer, StreamEvent
from .reply import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..access_record import AccessRecord
    from ..dialects import Call, Dialect, Events
    from .draft import Draft
    from .generation import ParsedRequest

log = logging.getLogger(__name__)

Item = TypeVar("Item")

KEEP_ALIVE = 10.0  # seconds without events before a comment
PING, DONE = b": ping\n\n", b"data: [DONE]\n\n"
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # the second disables buffering in nginx


@dataclass(frozen=True, slots=True)
class ServiceStream:
    """Events of the service; the first has arrived.

    `size` is that of the image, if previews are requested. `model` is the served model, whose name may differ from the
    requested one.
    """

    first: pb.StreamImagesResponse
    rest: AsyncGenerator[pb.StreamImagesResponse]
    size: tuple[int, int]
    model: str


async def stream(parsed: ParsedRequest) -> Stream:
    """Answer one request with a stream of events in its dialect. Raises GatewayError."""
    events, headers = await cancel_on_disconnect(parsed.http.receive, _start(parsed))
    return _response(_event_data(events), headers)


async def start_recording(parsed: ParsedRequest) -> Reply:
    """Start a recorded stream, which runs to its end even if the client disconnects. Raises GatewayError."""
    events, headers = await _start(parsed)
    return Reply(ReplayBuffer(events), headers)


def replay(buffer: ReplayBuffer, headers: dict[str, str], *, repeated: bool) -> Stream:
    """Answer with a recorded stream: all events for the first request, the images for a repeated one."""
    return _response(_with_pings(buffer.replay()) if repeated else buffer.live(), headers)


def _response(events: AsyncGenerator[bytes], headers: dict[str, str]) -> Stream:
    return Stream(_with_done(events), media_type="text/event-stream", headers=HEADERS | headers)


async def _start(parsed: ParsedRequest) -> tuple[AsyncGenerator[StreamEvent], dict[str, str]]:
    """Return the events, and the headers that precede them."""
    dialect, call = parsed.dialect, parsed.call
    if dialect.events is None:
        raise NotServed("stream", "is not supported by this vendor's API: leave it out, or set it to false")
    service_stream, draft, dropped_keys = await call_service(
        parsed.context, call, parsed.draft, lambda draft: _open_stream(parsed, draft)
    )
    headers = ignored_header([*call.unused, *dropped_keys]) | model_header(call.request.model, service_stream.model)
    effective_call = replace(call, request=draft.effective_request())
    mime_type = draft.value("output").mime_type
    events = _events(service_stream, dialect.events, effective_call, mime_type, with_progress=_with_progress(parsed))
    return _with_failure(events, dialect, call, parsed.http.state.record), headers


async def _open_stream(parsed: ParsedRequest, draft: Draft) -> ServiceStream:
    """Call the service and wait for its first event."""
    client, call, model = parsed.context.client, parsed.call, draft.model
    if call.request.model and not model:  # the header with the model is sent before the service names it
        model = (await client.model("")).name
    size = await _size(parsed, draft) if call.previews else (0, 0)
    previews = pb.Previews(count=call.previews, mime_type=MIME_TYPE) if call.previews else None
    events = client.stream(draft, previews, parsed.id, progress=_with_progress(parsed))
    return ServiceStream(await anext(events), events, size, model)


def _with_progress(parsed: ParsedRequest) -> bool:
    return parsed.http.headers.get(progress.HEADER) == "true"


async def _size(parsed: ParsedRequest, draft: Draft) -> tuple[int, int]:
    """Return the image's width and height: those requested, or those of its start image or model.

    Zeros if only the service knows them, since the result has the shape of an image to edit.
    """
    width, height, image = draft.value("width"), draft.value("height"), draft.value("image")
    if width and height:
        return width, height
    if image:
        return size_from_start_image(image_header.check(image).size, width, height)
    if "references[0]" in draft.changes and not (width or height):
        return 0, 0
    defaults = (await parsed.context.client.model(draft.model)).defaults
    return width or defaults.width, height or defaults.height


async def _event_data(events: AsyncGenerator[StreamEvent]) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        async for event in events:
            yield event.data


async def _with_pings(events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(with_keepalive(events, KEEP_ALIVE)) as items:
        async for event in items:
            yield PING if event is None else event


async def _with_done(events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        async for event in events:
            yield event
    yield DONE


async def _with_failure(
    events: AsyncGenerator[StreamEvent], dialect: Dialect, call: Call, record: AccessRecord
) -> AsyncGenerator[StreamEvent]:
    """Yield the events; if they fail, yield the error as the last event."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except GatewayError as error:
        record.fail(error)
        yield _failure(dialect, error.with_client_names(call.names) if isinstance(error, ServiceError) else error)
    except Exception:
        log.exception("%s: a stream failed", record.id)
        record.fail(Fault())
        yield _failure(dialect, Fault())


async def _events(
    service_stream: ServiceStream, dialect: Events, call: Call, mime_type: str, *, with_progress: bool
) -> AsyncGenerator[StreamEvent]:
    """Yield the service's events as events of the dialect, and comments while there are none."""
    missing = call.request.count or 1
    last = pb.Image()  # the last image is held back until the usage of all is known
    async with aclosing(with_keepalive(_all_events(service_stream), KEEP_ALIVE)) as events:
        async for event in events:
            now = int(time.time())
            if event is None:
                yield StreamEvent(PING)
            elif event.HasField("preview"):
                preview = await asyncio.to_thread(enlarge_preview, event.preview, service_stream.size, mime_type)
                yield StreamEvent(_encode(dialect.partial(preview, call, now)))
            elif event.HasField("image"):
                missing, last = missing - 1, event.image
                if missing:
                    yield StreamEvent(_encode(dialect.completed(last, pb.Usage(), call, now)), EventKind.IMAGE)
            elif event.HasField("completed"):
                if missing:
                    raise _missing_images()
                usage = event.completed.usage
                yield StreamEvent(_encode(dialect.completed(last, usage, call, now)), EventKind.IMAGE)
            elif with_progress and (progress_item := progress.progress_event(event)):
                yield StreamEvent(_encode(progress_item))


async def _all_events(service_stream: ServiceStream) -> AsyncGenerator[pb.StreamImagesResponse]:
    async with aclosing(service_stream.rest):
        yield service_stream.first
        async for event in service_stream.rest:
            yield event


def _missing_images() -> ServiceError:
    return ServiceError("The image service has not generated all images.", status=500, reason=Reason.INTERNAL)


def _encode(event: Any) -> bytes:
    return b"".join((b"event: ", event.type.encode(), b"\ndata: ", msgspec.json.encode(event), b"\n\n"))


def _failure(dialect: Dialect, error: GatewayError) -> StreamEvent:
    body = msgspec.json.encode(dialect.error(error).body)
    return StreamEvent(b"event: error\ndata: " + body + b"\n\n", EventKind.FAILURE)


async def with_keepalive(items: AsyncGenerator[Item], interval: float) -> AsyncGenerator[Item | None]:
    """Yield the items, and None after each `interval` seconds without one.

    Once started, closing this generator closes `items` as well.
    """
    try:
        while True:
            pending = asyncio.create_task(_next(items))
            try:
                while not (await asyncio.wait({pending}, timeout=interval))[0]:
                    yield None
                item = pending.result()
            finally:
                pending.cancel()
            if item is None:
                return
            yield item
    finally:
        if pending.done():
            await items.aclose()


async def _next(items: AsyncGenerator[Item]) -> Item | None:
    return await anext(items, None)
