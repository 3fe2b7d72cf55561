"""The JSON of a job, and the responses with a job or its result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response
from litestar.response import Stream
from msgspec import UNSET, Meta, UnsetType

from ..http.body_limits import hold_bytes
from ..openapi.operation import JSON
from .errors import JobCancelled
from .records import Job, State

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from ..config import GatewayConfig
    from .queue import Jobs

INLINE = 2**18  # bytes of a result that the job itself shows; a larger one is fetched
PIECE = 2**18  # bytes that are sent in one piece
RETRY_AFTER = "2"  # seconds between two requests for an unfinished job that do not wait


class JobError(msgspec.Struct, kw_only=True):
    """Why a job failed."""

    status: Annotated[int, Meta(description="HTTP status of the result")]
    reason: Annotated[str, Meta(description="Stable name of the reason, such as MODEL_NOT_FOUND")]
    message: Annotated[str, Meta(description="What went wrong")]
    param: Annotated[str | None, Meta(description="The field at fault")] = None


class JobObject(msgspec.Struct, kw_only=True):
    """A job. Times are in Unix seconds."""

    id: Annotated[str, Meta(description="Name of the job in its paths")]
    object: Annotated[str, Meta(description="Always 'job'")] = "job"
    status: Annotated[
        str, Meta(description="State of the job", extra_json_schema={"enum": [str(one) for one in State]})
    ]
    created_at: Annotated[int, Meta(description="When it was submitted")]
    started_at: Annotated[int, Meta(description="When it ran first")] | UnsetType = UNSET
    finished_at: Annotated[int, Meta(description="When it ended")] | UnsetType = UNSET
    expires_at: Annotated[int, Meta(description="When it is deleted; a queued job fails then")]
    position: Annotated[int, Meta(description="Number of jobs before it, while it is queued")]
    progress: Annotated[float, Meta(description="Finished share of the work, 0 to 1")]
    eta: Annotated[float, Meta(description="Estimated seconds until it starts or, once it runs, ends")] | UnsetType = (
        UNSET
    )
    path: Annotated[str, Meta(description="Path of the request that it runs")]
    model: Annotated[str, Meta(description="Model in the request, empty for the default model")]
    images: Annotated[int, Meta(description="Number of images")]
    seed: Annotated[int, Meta(description="Seed of the first image")]
    result: (
        Annotated[dict[str, Any], Meta(description=f"Body of the result, if it has at most {INLINE} bytes")] | UnsetType
    ) = UNSET
    error: Annotated[JobError, Meta(description="Why it failed")] | UnsetType = UNSET


class JobList(msgspec.Struct, kw_only=True):
    """Jobs, newest first."""

    object: Annotated[str, Meta(description="Always 'list'")] = "list"
    data: Annotated[list[JobObject], Meta(description="The jobs")]
    has_more: Annotated[bool, Meta(description="Whether there are older ones: ask with after=ID of the last one")]


def render_job(job: Job, result: bytes = b"") -> JobObject:
    """Return the JSON of a job, with its result, if given."""
    is_waiting = job.state is State.RUNNING and not job.begun
    return JobObject(
        id=job.id,
        status=State.QUEUED if is_waiting else job.state,
        created_at=int(job.created),
        started_at=UNSET if job.started is None else int(job.started),
        finished_at=UNSET if job.finished is None else int(job.finished),
        expires_at=int(job.expires),
        position=job.position,
        progress=job.progress,
        eta=UNSET if job.eta is None else round(max(0.0, job.eta - time.time()), 1),
        path=job.path,
        model=job.model,
        images=job.images,
        seed=job.seed,
        result=msgspec.Raw(result) if result else UNSET,  # type: ignore[arg-type] # encoded JSON
        error=msgspec.convert(dict(job.error), JobError) if job.error else UNSET,
    )


async def render_with_result(jobs: Jobs, job: Job) -> JobObject:
    """Return the JSON of a job, with its result if it succeeded and the result is small."""
    result = await jobs.store.result(job, INLINE) if job.state is State.SUCCEEDED else b""
    return render_job(job, result)


def job_path(config: GatewayConfig, job: Job) -> str:
    """Return the path of a job, or its URL if the gateway has a public one."""
    return f"{config.public_url.rstrip('/')}/v1/jobs/{job.id}"


def job_response(
    config: GatewayConfig, job: Job, *, status: int, headers: Mapping[str, str], body: JobObject | None = None
) -> Response[bytes]:
    """Return the response with a job; that of an unfinished job says when to ask again."""
    own = {"location": job_path(config, job)} if status == 202 else {}
    own |= {"cache-control": "no-store"} if job.is_final else {"cache-control": "no-store", "retry-after": RETRY_AFTER}
    return Response(
        msgspec.json.encode(body or render_job(job)), status_code=status, media_type=JSON, headers={**own, **headers}
    )


async def result_response(jobs: Jobs, job: Job, headers: Mapping[str, str]) -> Response[Any]:
    """Return the response that a finished job's request would have got, with more headers. Raises JobCancelled."""
    if job.state is State.CANCELLED:
        raise JobCancelled
    data = await jobs.store.result(job)
    hold_bytes(len(data), always=True)
    kept = {**job.headers, **headers, "cache-control": "no-store"}
    media_type = kept.pop("content-type", JSON)
    if len(data) <= PIECE:
        return Response(data, status_code=job.status, media_type=media_type, headers=kept)
    return Stream(
        _pieces(data),
        status_code=job.status,
        media_type=media_type,
        headers=kept | {"content-length": str(len(data))},
    )


async def _pieces(data: bytes) -> AsyncGenerator[bytes]:
    view = memoryview(data)
    for start in range(0, len(view), PIECE):
        yield bytes(view[start : start + PIECE])
