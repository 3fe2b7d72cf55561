"""Submission of jobs: a request with `Prefer: respond-async` is checked, stored and answered at once.

- Rates, permissions and the request itself are checked when it is submitted; an error is answered as usual.
- A seed that it does not name is drawn then, too, so a job that runs again makes the same images.
- An Idempotency-Key means the same for jobs and for requests that wait: one body, made once. It is kept with the job.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..http.body_limits import store_body
from ..http.disconnect import cancel_on_disconnect
from ..openapi.operation import JSON, TEXT, Media, ResponseDoc
from .prefer import RESPOND_ASYNC, WAIT, preferences, wait_seconds
from .records import NewJob
from .render import JobObject, job_response, result_response
from .running_job import StoredRequest, draw_seed, running_job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar import Response

    from ..context import AnyRequest, CallerContext, Gateway
    from ..requests.idempotency import RequestKey
    from .records import Job

ASYNC_HEADERS = {
    "prefer": TEXT | {"description": "respond-async: answer at once with a job; with wait=SECONDS, after that time"}
}
ASYNC_RESPONSE = ResponseDoc(
    "The job, for requests with Prefer: respond-async",
    {JSON: Media(JobObject)},
    ("location", "preference-applied", "retry-after", "idempotent-replayed"),
)


class Submission(NamedTuple):
    """A checked request: its images, the model that it names, and whether its result has links.

    `seed` is that of the first image, None for a random one.
    """

    images: int
    model: str
    links: bool
    seed: int | None


def wants_job(gateway: Gateway, request: AnyRequest) -> bool:
    """Return whether a request asks for a job, and the gateway runs jobs."""
    return gateway.jobs is not None and running_job(request) is None and RESPOND_ASYNC in preferences(request)


async def submit(
    context: CallerContext,
    request: AnyRequest,
    key: RequestKey | None,
    check: Callable[[], Awaitable[Submission | None]],
    *,
    path: str = "",
) -> Response[Any] | None:
    """Store a request as a job that runs at `path`, by default its own, and answer with the job.

    `check` checks the request; if it returns None, the request can't be a job, and None is returned. Raises
    GatewayError.
    """
    jobs = context.gateway.require_jobs()
    body = await store_body(request)
    if key:
        context.gateway.idempotency.find(*key)  # raises KeyReused
        found = await jobs.store.find(*key)
        if found:
            return await _accepted(context, request, found, is_new=False)
    checked = await check()
    if checked is None:
        return None
    new = _new_job(context, request, key, checked, path or str(request.scope["path"]), body)
    try:
        job, is_new = await jobs.add(new)
    except BaseException:
        context.client.give_back(checked.images)
        raise
    if not is_new:  # the same request arrived twice at once
        context.client.give_back(checked.images)
    return await _accepted(context, request, job, is_new=is_new)


async def job_of_key(context: CallerContext, key: RequestKey) -> Job | None:
    """Return the job that has an Idempotency-Key. Raises KeyReused if the key belongs to another body."""
    jobs = context.gateway.jobs
    return await jobs.store.find(*key) if jobs else None


async def respond_with_job(context: CallerContext, job: Job, seconds: float) -> Response[Any]:
    """Answer a request that has the Idempotency-Key of a job: with its result, or after some seconds with the job."""
    jobs = context.gateway.require_jobs()
    job = await jobs.wait(job.id, seconds)
    headers = {"idempotent-replayed": "true"}
    if job.is_final:
        return await result_response(jobs, job, headers)
    return job_response(context.gateway.config, job, status=202, headers=headers)


async def _accepted(context: CallerContext, request: AnyRequest, job: Job, *, is_new: bool) -> Response[Any]:
    """Answer a submission: with the result if it is there in time, otherwise with the job."""
    jobs, preferred = context.gateway.require_jobs(), preferences(request)
    headers = {} if is_new else {"idempotent-replayed": "true"}
    applied = [RESPOND_ASYNC] if RESPOND_ASYNC in preferred else []
    seconds = wait_seconds(preferred.get(WAIT, ""))
    if seconds:
        job = await cancel_on_disconnect(request.receive, jobs.wait(job.id, seconds))
        applied.append(f"{WAIT}={seconds:g}")
    headers |= {"preference-applied": ", ".join(applied)} if applied else {}
    if seconds and job.is_final:
        return await result_response(jobs, job, headers)
    return job_response(context.gateway.config, job, status=202, headers=headers)


def _new_job(
    context: CallerContext,
    request: AnyRequest,
    key: RequestKey | None,
    checked: Submission,
    path: str,
    body: bytes | bytearray,
) -> NewJob:
    return NewJob(
        id=f"job_{secrets.token_hex(16)}",
        key=context.key,
        caller=context.caller.name,
        priority=context.caller.priority,
        path=path,
        model=checked.model,
        images=checked.images,
        links=checked.links,
        seed=draw_seed() if checked.seed is None else checked.seed,
        request=str(msgspec.json.encode(StoredRequest.of(request, path)), "utf-8"),
        body=body,
        reply_key=key.digest if key else None,
        fingerprint=key.fingerprint if key else None,
    )
