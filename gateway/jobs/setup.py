"""Make the jobs of a gateway and their runner from its configuration."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..access.admission import caller_of
from ..database import Database
from ..errors import GatewayError, StartError
from .queue import Jobs
from .records import FILE, MIGRATIONS, State
from .runner import JobRunner
from .store import JobStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..config import GatewayConfig
    from ..context import Gateway
    from ..error_handlers import ErrorHandlers
    from ..metrics import Metrics
    from .records import Job


@asynccontextmanager
async def open_jobs(config: GatewayConfig) -> AsyncIterator[Jobs | None]:
    """Open the jobs in the data folder; None if the configuration has none. Raises StartError."""
    if not config.jobs:
        yield None
        return
    database = Database(config.data / FILE, MIGRATIONS, seconds=config.store_timeout)
    try:
        await database.open()
    except StartError as error:
        raise StartError(f"{error}, or run without jobs (--jobs 0)") from error
    store = JobStore(
        database, limit=config.jobs, capacity=config.job_bytes, ttl=config.job_ttl, links_ttl=config.url_ttl
    )
    try:
        yield Jobs(store)
    finally:
        await database.close()


def job_runner(gateway: Gateway, jobs: Jobs, errors: ErrorHandlers, metrics: Metrics) -> JobRunner:
    """Return the runner of a gateway's jobs."""
    jobs.stopping = lambda: gateway.readiness.stopping

    def refund(job: Job) -> None:
        try:
            caller = caller_of(gateway.keys.of_job(job.key), job.caller, gateway.config)
        except GatewayError:  # the key has been removed
            return
        gateway.image_rates.give_back(caller.name, caller.images, job.images)

    def count_cancelled(job: Job) -> None:
        metrics.ended_jobs.labels(State.CANCELLED).inc()
        refund(job)

    jobs.on_cancelled = count_cancelled
    return JobRunner(
        jobs,
        gateway.config.jobs_running,
        problem=gateway.client.health_problem,
        render_error=errors.render_at,
        refund=refund,
        metrics=metrics,
    )
