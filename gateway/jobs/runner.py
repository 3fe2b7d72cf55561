"""Runs the jobs: takes them from the database, sends each one to the handler of its path, and records the response.

- At most `running` jobs run at once, so the service orders them with all other requests by its own rules.
- A job whose response says that the service is busy or going away is queued again; so is each one that runs when the
  gateway stops. A job during which the process or the service ended unexpectedly runs once more, not forever.
- A queued job that expires fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from tintype.v1.reasons import Reason

from ..errors import Fault, GatewayError, StoreFull
from ..requests.idempotency import RequestKey
from .errors import JobAbandoned, JobExpired
from .internal_request import Answer, send_request
from .records import Job, Result, State
from .running_job import Progress, RunningJob, StoredRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from litestar.types import ASGIApp

    from ..metrics import Metrics
    from .queue import Jobs

    RenderError = Callable[[str, GatewayError], tuple[int, dict[str, str], bytes]]

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 2  # runs that end with the process or the service
BEAT = 1.0  # seconds between two looks at the database while jobs are open
IDLE_BEAT = 5.0  # seconds without open jobs; a job that this gateway accepts starts at once
SWEEP_INTERVAL = 60.0  # seconds
BUSY_DELAY = 2.0  # seconds before a job is tried again when the service was busy
STOP_TIMEOUT = 5.0  # seconds in which running jobs end when the gateway stops
LOST_DELAY = 5.0  # seconds before a job is tried again when the service was gone
# Errors after which a job waits and is tried again; those of the first set are not its own fault.
_BUSY = frozenset({Reason.QUEUE_FULL, Reason.UPLOADS_FULL, Reason.STOPPING})
_LOST = frozenset({Reason.UNAVAILABLE})


class JobRunner:
    """Runs up to `running` of the `jobs` at once.

    `problem` returns why the service can't make images now; `render_error` renders an error in the format of a path;
    `refund` is called with a job that made no images.
    """

    def __init__(
        self,
        jobs: Jobs,
        running: int,
        problem: Callable[[], Awaitable[str]],
        render_error: RenderError,
        refund: Callable[[Job], None],
        metrics: Metrics,
    ) -> None:
        self._jobs = jobs
        self._limit = running
        self._problem = problem
        self._render_error = render_error
        self._refund = refund
        self._metrics = metrics
        self._name = secrets.token_hex(8)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    @contextlib.asynccontextmanager
    async def serving(self, app: ASGIApp) -> AsyncIterator[None]:
        """Run jobs through `app` inside the block; at its end, hand running jobs back."""
        loop = asyncio.create_task(self._run_repeatedly(app))
        sweeping = asyncio.create_task(self._sweep_repeatedly())
        try:
            yield
        finally:
            self._stopping = True
            for task in (loop, sweeping):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            for run in self._jobs.running.values():
                run.end.set()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT)

    async def _run_repeatedly(self, app: ASGIApp) -> None:
        while True:
            try:
                await self._beat(app)
            except GatewayError:  # logged by the database
                await asyncio.sleep(BEAT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._jobs.added.wait(), BEAT if self._jobs.open else IDLE_BEAT)

    async def _sweep_repeatedly(self) -> None:
        while True:
            with contextlib.suppress(GatewayError):
                await self._jobs.store.sweep()
            await asyncio.sleep(SWEEP_INTERVAL)

    async def _beat(self, app: ASGIApp) -> None:
        """Report the running jobs, and take new ones."""
        running = self._jobs.running
        capacity = await self._capacity()
        self._jobs.added.clear()
        progress = {name: run.progress for name, run in running.items()}
        beat = await self._jobs.store.beat(self._name, progress, capacity)
        self._jobs.open = beat.open
        for state in (State.QUEUED, State.RUNNING):
            self._metrics.open_jobs.labels(state).set(beat.open.get(state, 0))
        for name in beat.lost & running.keys():
            running[name].lose()
        for name in beat.cancelled & running.keys():
            running[name].cancel()
        for job in beat.taken:
            run = _run_of(job)
            running[job.id] = run
            task = asyncio.create_task(self._run(app, job, run))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        for job in beat.expired:
            log.info("%s: a job expired before it started", job.id)
            await self._finish(job, _result(*self._failure(job, JobExpired())))
            self._jobs.notify(job.id)

    async def _capacity(self) -> int:
        """Return how many more jobs may run; 0 while none waits, or the service can't make images."""
        wanted = self._jobs.added.is_set() or self._jobs.open.get(State.QUEUED)
        if not wanted or self._jobs.stopping() or await self._problem():
            return 0
        return self._limit - len(self._jobs.running)

    async def _run(self, app: ASGIApp, job: Job, run: RunningJob) -> None:
        """Run one job, and record its end."""
        try:
            await self._settle(job, run, *await self._answer(app, job, run))
        except GatewayError:  # of the database, which logs it; another attempt follows when the lease has expired
            pass
        except Exception:
            log.exception("%s: a job failed", job.id)
        finally:
            self._jobs.running.pop(job.id, None)
            self._jobs.notify(job.id)
            self._jobs.added.set()

    async def _answer(self, app: ASGIApp, job: Job, run: RunningJob) -> tuple[Answer, GatewayError | None]:
        """Return the response to a job's request, and the error that it reports."""
        if job.attempts > MAX_ATTEMPTS:
            log.warning("%s: not run again, because the process ended %d times", job.id, MAX_ATTEMPTS)
            return self._failure(job, JobAbandoned(MAX_ATTEMPTS))
        stored = msgspec.json.decode(job.request, type=StoredRequest)
        body = await self._jobs.store.body(job)
        scope = stored.scope(run)
        try:
            answer = await send_request(app, scope, body, run.end)
        except Exception:
            log.exception("%s: unexpected error in a job", job.id)
            return self._failure(job, Fault())
        return answer, scope["state"].get("error") if answer.status >= 400 else None

    async def _settle(self, job: Job, run: RunningJob, answer: Answer, error: GatewayError | None) -> None:
        """Record how a run ended: with a result, cancelled, or to be repeated."""
        store, reason = self._jobs.store, error.reason if error else ""
        if run.is_lost:
            return
        if run.is_cancelled and answer.status >= 400:
            await self._finish(job, None)
        elif self._stopping and answer.status >= 400:
            await store.hand_back(job, self._name)
        elif reason in _BUSY:
            await store.hand_back(job, self._name, delay=max(BUSY_DELAY, (error and error.retry_after) or 0.0))
        elif reason in _LOST and job.attempts < MAX_ATTEMPTS:
            await store.hand_back(job, self._name, delay=LOST_DELAY, counts=True)
        else:
            await self._finish(job, _result(answer, error))

    async def _finish(self, job: Job, result: Result | None) -> None:
        try:
            done = await self._jobs.store.finish(job, self._name, result)
        except StoreFull as error:
            result = _result(*self._failure(job, error))
            done = await self._jobs.store.finish(job, self._name, result)
        state = result.state if result else State.CANCELLED
        if done:
            self._metrics.ended_jobs.labels(state).inc()
            if state is not State.SUCCEEDED:
                self._refund(job)

    def _failure(self, job: Job, error: GatewayError) -> tuple[Answer, GatewayError]:
        """Return an error as the response of the job's path."""
        status, headers, body = self._render_error(job.path, error)
        return Answer(status, headers | {"content-type": "application/json"}, bytearray(body)), error


def _run_of(job: Job) -> RunningJob:
    key = RequestKey(job.reply_key, job.fingerprint or b"") if job.reply_key else None
    return RunningJob(job.id, job.key, job.model, job.seed, job.attempts, Progress(job.images), key)


def _result(answer: Answer, error: GatewayError | None) -> Result:
    problem: dict[str, Any] = {}
    if error:
        problem = {"status": answer.status, "reason": str(error.reason), "message": error.message, "param": error.param}
    return Result(status=answer.status, headers=answer.headers, body=answer.body, error=problem)
