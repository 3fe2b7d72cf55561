"""The routes of jobs, below `/v1/jobs` and, for SDKs with such a base URL, below `/NAME/v1/jobs` of each vendor."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import HttpMethod, Response, post, route
from litestar.response import Stream

from ..access.admission import authenticate
from ..context import AnyRequest  # noqa: TC001 - Litestar reads it
from ..errors import GatewayError, InvalidValue
from ..http.disconnect import cancel_on_disconnect
from ..openapi.operation import EVENTS, JSON, TEXT, Media, Operation, ResponseDoc, handler_options
from ..pages import READ_METHODS
from ..requests.handler import handle
from ..requests.handler import operation as image_operation
from ..requests.streaming import HEADERS, PING
from ..settings.clients import SHARED_PATH_DIALECTS
from .errors import NoSuchJob, OwnJobsOnly
from .prefer import WAIT, preferences, wait_parameter, wait_seconds
from .queue import POLL
from .render import JobError, JobList, JobObject, job_response, render_job, render_with_result, result_response
from .submission import ASYNC_RESPONSE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from litestar.handlers import HTTPRouteHandler

    from ..context import CallerContext, Gateway
    from ..dialects import Dialect
    from .queue import Jobs
    from .records import Job

BASES = ("/v1", *(f"/{name}/v1" for name in SHARED_PATH_DIALECTS))
PAGE, MAX_PAGE = 20, 100  # jobs of a page
KEEP_ALIVE = 10.0  # seconds without events before a comment
TAG = "jobs"
_ERRORS = (401, 404, 503)
_ID = {"job": TEXT | {"description": "The job's id"}}
_WAIT = {"wait": {"type": "integer", "description": "Seconds to wait for the end of the job, at most 60"}}
_PREFER = {"prefer": TEXT | {"description": "wait=SECONDS: like the query parameter `wait`"}}
_JOB = ResponseDoc("The job", {JSON: Media(JobObject)}, ("retry-after",))
LIST_JOBS = Operation(
    summary="List your jobs, newest first",
    tag=TAG,
    query={
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE},
        "after": TEXT | {"description": "Id of the last job of the page before"},
        "all": TEXT | {"description": "true: the jobs of all keys; needs an admin key", "default": "false"},
    },
    responses={200: ResponseDoc("A page of jobs", {JSON: Media(JobList)})},
    errors=(400, 401, 403, 503),
)
GET_JOB = Operation(
    summary="Get a job",
    tag=TAG,
    parameters=_ID,
    query=_WAIT,
    headers=_PREFER,
    responses={200: _JOB},
    errors=(400, *_ERRORS),
)
CANCEL_JOB = Operation(
    summary="Cancel a job",
    tag=TAG,
    text="A job that has ended stays as it is.",
    parameters=_ID,
    responses={200: _JOB},
    errors=_ERRORS,
)
GET_RESULT = Operation(
    summary="Get the response of a job's request",
    tag=TAG,
    text="Status, headers and body are those that the request would have got without Prefer: respond-async.",
    parameters=_ID,
    query=_WAIT,
    headers=_PREFER,
    responses={
        200: ResponseDoc("The images, in the JSON of the job's path", {JSON: Media({"type": "object"})}),
        202: ASYNC_RESPONSE,
    },
    errors=(400, *_ERRORS, 409),
)
GET_EVENTS = Operation(
    summary="Follow a job",
    tag=TAG,
    parameters=_ID,
    text="An event `job` with the job after each change, until it ends; an event `error` if that fails.",
    responses={200: ResponseDoc("The events", {EVENTS: Media({})})},
    errors=_ERRORS,
)


def routes(gateway: Gateway, dialects: Mapping[str, Dialect]) -> list[HTTPRouteHandler]:
    """Return the routes of jobs; `dialects` are by path."""
    return [
        *(_all_jobs_route(gateway, dialects, base) for base in BASES),
        _job_route(gateway),
        *_result_routes(gateway),
        _cancel_route(gateway),
    ]


# One handler for both methods of a path: Litestar's own answer to OPTIONS names the methods of the first one only.
def _all_jobs_route(gateway: Gateway, dialects: Mapping[str, Dialect], base: str) -> HTTPRouteHandler:
    images = f"{base}/images/generations"
    dialect = dialects[images]
    text = "Like a request for images with Prefer: respond-async, for clients that can't set headers."
    submitting = replace(image_operation(dialect), summary="Submit a job", tag=TAG, text=text)
    described = handler_options({"GET": LIST_JOBS, "HEAD": LIST_JOBS, "POST": submitting})

    @route(
        f"{base}/jobs",
        http_method=[*READ_METHODS, HttpMethod.POST],
        name=f"jobs:{base}",
        status_code=200,
        opt=described,
    )
    async def jobs(request: AnyRequest) -> Response[Any]:
        gateway.require_jobs()
        if request.method == "POST":
            return await handle(gateway, dialect, request, job_path=images)
        page = await _page(authenticate(gateway, request), request)
        return Response(msgspec.json.encode(page), media_type=JSON, headers={"cache-control": "no-store"})

    return jobs


def _job_route(gateway: Gateway) -> HTTPRouteHandler:
    paths = _paths("/{job:str}")
    described = handler_options({"GET": GET_JOB, "HEAD": GET_JOB, "DELETE": CANCEL_JOB}, paths)

    @route(paths, http_method=[*READ_METHODS, HttpMethod.DELETE], name="jobs:one", status_code=200, opt=described)
    async def job(request: AnyRequest) -> Response[bytes]:
        if request.method == "DELETE":
            return await _cancel(gateway, request)
        found, applied = await _find_and_wait(gateway, request)
        body = await render_with_result(gateway.require_jobs(), found)
        return job_response(gateway.config, found, status=200, headers=applied, body=body)

    return job


def _cancel_route(gateway: Gateway) -> HTTPRouteHandler:
    paths = _paths("/{job:str}/cancel")

    @post(paths, name="jobs:cancel", status_code=200, opt=handler_options(CANCEL_JOB, paths))
    async def cancel(request: AnyRequest) -> Response[bytes]:
        return await _cancel(gateway, request)

    return cancel


async def _cancel(gateway: Gateway, request: AnyRequest) -> Response[bytes]:
    job = await _find(authenticate(gateway, request), request)
    ended = await gateway.require_jobs().cancel(job.id)
    return job_response(gateway.config, ended, status=200, headers={})


def _result_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    result_paths, event_paths = _paths("/{job:str}/result"), _paths("/{job:str}/events")

    @route(result_paths, http_method=READ_METHODS, name="jobs:result", opt=handler_options(GET_RESULT, result_paths))
    async def result(request: AnyRequest) -> Response[Any]:
        found, applied = await _find_and_wait(gateway, request)
        if found.is_final:
            return await result_response(gateway.require_jobs(), found, applied)
        return job_response(gateway.config, found, status=202, headers=applied)

    @route(event_paths, http_method=READ_METHODS, name="jobs:events", opt=handler_options(GET_EVENTS, event_paths))
    async def events(request: AnyRequest) -> Response[Any]:
        job = await _find(authenticate(gateway, request), request)
        if request.method == HttpMethod.HEAD:  # at once, not when the job ends
            return Response(b"", media_type=EVENTS, headers=HEADERS)
        return Stream(_events(gateway.require_jobs(), job), media_type=EVENTS, headers=HEADERS)

    return [result, events]


def _paths(rest: str) -> list[str]:
    return [f"{base}/jobs{rest}" for base in BASES]


async def _find(context: CallerContext, request: AnyRequest) -> Job:
    """Return the job that a path names. Raises NoSuchJob, also for another caller's job."""
    job = await context.gateway.require_jobs().get(str(request.path_params["job"]))
    if not _may_see(context, job):
        raise NoSuchJob
    return job


def _may_see(context: CallerContext, job: Job) -> bool:
    """Return whether a caller may see a job: its own, an admin every job; without keys the id is the secret."""
    if not context.key:
        return not job.key
    return job.key == context.key or context.caller.admin


async def _find_and_wait(gateway: Gateway, request: AnyRequest) -> tuple[Job, dict[str, str]]:
    """Return the job that a path names, after the requested time, and the headers that confirm the preference."""
    context = authenticate(gateway, request)
    request.state.record.quiet = True  # a client asks every few seconds
    job = await _find(context, request)
    preferred, asked = preferences(request).get(WAIT, ""), request.query_params.get("wait")
    seconds = wait_seconds(preferred) if asked is None else wait_parameter(asked)
    if seconds and not job.is_final:
        job = await cancel_on_disconnect(request.receive, gateway.require_jobs().wait(job.id, seconds))
    return job, {"preference-applied": f"{WAIT}={seconds:g}"} if seconds and preferred else {}


async def _page(context: CallerContext, request: AnyRequest) -> JobList:
    limit = _limit(request.query_params.get("limit", str(PAGE)))
    everyone = request.query_params.get("all", "") == "true"
    if everyone and not (context.key and context.caller.admin):
        raise OwnJobsOnly
    caller = None if everyone else context.caller.name
    store = context.gateway.require_jobs().store
    after = request.query_params.get("after", "")
    if after and await store.get(after) is None:
        raise InvalidValue("after", f"must be the id of a job, not {after[:40]!r}; the job may have expired")
    found = await store.page(caller, context.key, after, limit + 1)
    return JobList(data=[render_job(job) for job in found[:limit]], has_more=len(found) > limit)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MAX_PAGE):
        raise InvalidValue("limit", f"must be an integer from 1 to {MAX_PAGE}, not {text[:20]!r}")
    return int(text)


async def _events(jobs: Jobs, job: Job) -> AsyncGenerator[bytes]:
    """Yield an event with the job after each change, and comments while there are none; the last one has the result.

    If the database fails, the last event is `error`.
    """
    try:
        async with aclosing(_changes(jobs, job)) as events:
            async for event in events:
                yield event
    except GatewayError as error:
        shown = JobError(status=error.status, reason=error.reason, message=error.message, param=error.param)
        yield b"event: error\ndata: " + msgspec.json.encode({"error": shown}) + b"\n\n"


async def _changes(jobs: Jobs, job: Job) -> AsyncGenerator[bytes]:
    last, sent_at = b"", 0.0
    while True:
        body = msgspec.json.encode(await render_with_result(jobs, job))
        if body != last or monotonic() - sent_at > KEEP_ALIVE:
            yield PING if body == last else b"event: job\ndata: " + body + b"\n\n"
            last, sent_at = body, monotonic()
        if job.is_final or jobs.stopping():
            return
        job = await jobs.wait(job.id, POLL)
