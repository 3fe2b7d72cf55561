"""The handler of requests for images: rate limit, parsing, and the response as JSON, as SSE, or from the cache."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from tintype.v1.rates import COUNTED, header_names

from ..access.admission import admit
from ..errors import NotServed, ServiceError
from ..http.body_limits import drop_body, extend_hold
from ..http.disconnect import cancel_on_disconnect
from ..jobs.running_job import running_job
from ..jobs.submission import (
    ASYNC_HEADERS,
    ASYNC_RESPONSE,
    Submission,
    job_of_key,
    respond_with_job,
    submit,
    wants_job,
)
from ..openapi import examples
from ..openapi.operation import EVENTS, FORM, JSON, TEXT, Media, Operation, ResponseDoc
from ..openapi.schemas import form_schema
from . import progress
from .draft import Draft
from .generation import generate, parse, read_call
from .idempotency import KEY_HEADER, MAX_KEY_CHARS, request_key
from .replay_buffer import ReplayBuffer
from .reply import json_response
from .streaming import replay, start_recording, stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar import Request, Response

    from ..context import CallerContext, Gateway
    from ..dialects import Dialect
    from .generation import ParsedRequest
    from .idempotency import RequestKey
    from .reply import Reply

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
        | {"maxLength": MAX_KEY_CHARS, "description": "A repeated request gets the same response, without previews"},
        **ASYNC_HEADERS,
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
        responses={200: ResponseDoc("The images", responses, _RESPONSE_HEADERS), 202: ASYNC_RESPONSE},
        errors=tuple(sorted({dialect.error(ServiceError("", status=one)).status for one in _ERROR_STATUSES})),
    )


async def handle(
    gateway: Gateway, dialect: Dialect, request: Request[Any, Any, Any], *, job_path: str = ""
) -> Response[Any]:
    """Answer one request in its dialect; with `job_path`, always as a job that runs at that path.

    Raises GatewayError.
    """
    context = admit(gateway, request)
    key = await _request_key(request)
    if job_path or wants_job(gateway, request):
        submission = partial(_check, context, dialect, request, must_be_job=bool(job_path))
        response = await submit(context, request, key, submission, path=job_path)
        if response is not None:
            return response
    if key:
        return await _handle_idempotent(context, dialect, request, key)
    parsed = await parse(context, dialect, request)
    drop_body(request)
    if parsed.call.stream:
        return await stream(parsed)
    return _response(await cancel_on_disconnect(request.receive, generate(parsed)), repeated=False)


async def _request_key(request: Request[Any, Any, Any]) -> RequestKey | None:
    """Return the Idempotency-Key of a request, or of the job that it runs, if any."""
    job = running_job(request)
    return job.reply_key if job else await request_key(request)


async def _check(
    context: CallerContext, dialect: Dialect, request: Request[Any, Any, Any], *, must_be_job: bool
) -> Submission | None:
    """Check a request that is to become a job, and count its images; None for a stream, which can't be one.

    The images that it names are read when the job runs. Raises GatewayError.
    """
    call = await read_call(context, dialect, request)
    if call.stream and must_be_job:
        raise NotServed("stream", "is not possible for a job: leave it out, or set it to false")
    if call.stream:
        return None
    draft = Draft(call.request).with_fields(model=context.names.resolve(call.request.model))
    seed = call.request.seed if call.request.HasField("seed") else None
    images = context.client.reserve(draft)
    return Submission(images=images, model=call.request.model, links=bool(call.links), seed=seed)


async def _handle_idempotent(
    context: CallerContext, dialect: Dialect, request: Request[Any, Any, Any], key: RequestKey
) -> Response[Any]:
    """Answer with the response to the first request that has this key; a repeated request is not parsed."""
    cache, job = context.gateway.idempotency, running_job(request)
    cached = cache.find(key.digest, key.fingerprint)
    if cached is not None:
        if job:
            job.progress.begun = True
        return _response(await cancel_on_disconnect(request.receive, asyncio.shield(cached)), repeated=True)
    submitted = None if job else await job_of_key(context, key)
    if submitted:
        answer = respond_with_job(context, submitted, context.gateway.config.timeout)
        return await cancel_on_disconnect(request.receive, answer)
    parsed = await parse(context, dialect, request)
    if job:  # the database has its reply; unlike other work of a key, it can be cancelled
        return _response(await cancel_on_disconnect(request.receive, generate(parsed)), repeated=False)
    drop_body(request)
    work = partial(_make_with_held_memory, start_recording if parsed.call.stream else generate, parsed)
    reply, repeated = await cancel_on_disconnect(request.receive, cache.get_or_run(*key, work))
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
