"""The jobs as handlers see them: the database, the progress of the jobs that run here, and waiting for a job's end."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from dataclasses import replace
from time import monotonic, time
from typing import TYPE_CHECKING

from .errors import NoSuchJob
from .records import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .records import Job, NewJob
    from .running_job import RunningJob
    from .store import JobStore

POLL = 1.0  # seconds after which a waiting request reads a job again that another process runs
LONG_POLL = 4.0  # the same for a job that does not run, and would run here; its end is reported


class Jobs:
    """The jobs of a gateway.

    `stopping` returns whether the gateway stops, so that requests must not wait. `on_cancelled` is called with a job
    that was cancelled before it ran.
    """

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self.stopping: Callable[[], bool] = lambda: False
        self.on_cancelled: Callable[[Job], None] = lambda _: None
        self.running: dict[str, RunningJob] = {}  # in this process
        self.open: dict[str, int] = {}  # number of open jobs by state, as of the last look
        self.added = asyncio.Event()
        self._watchers: dict[str, set[asyncio.Event]] = {}

    async def add(self, new: NewJob) -> tuple[Job, bool]:
        """Add a job; return it, or the job that has its Idempotency-Key, and whether it is new.

        Raises KeyReused, TooManyJobs, StoreFull.
        """
        job, is_new = await self.store.add(new)
        self.added.set()
        return self._with_progress(job), is_new

    async def get(self, job_id: str) -> Job:
        """Return a job with its current progress. Raises NoSuchJob."""
        job = await self.store.get(job_id)
        if job is None:
            raise NoSuchJob
        return self._with_progress(job)

    async def wait(self, job_id: str, seconds: float) -> Job:
        """Return a job when it ends, or after some seconds, or when the gateway stops. Raises NoSuchJob."""
        deadline = monotonic() + seconds
        with self._watching(job_id) as changed:
            while True:
                job = await self.get(job_id)
                left = deadline - monotonic()
                if job.is_final or left <= 0 or self.stopping():
                    return job
                is_elsewhere = job.state is State.RUNNING and job.id not in self.running
                await self._changed_or_stopping(changed, min(POLL if is_elsewhere else LONG_POLL, left))
                changed.clear()

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job, and wait a moment for its end; a finished job stays as it is. Raises NoSuchJob."""
        unstarted = await self.store.cancel_queued(job_id)
        if unstarted:
            self.on_cancelled(unstarted)
        else:
            await self.store.cancel(job_id)
        if job_id in self.running:
            self.running[job_id].cancel()
        self.notify(job_id)
        return await self.wait(job_id, 2 * POLL)

    def notify(self, job_id: str) -> None:
        """Wake the requests that wait for a job."""
        for changed in self._watchers.get(job_id, ()):
            changed.set()

    async def _changed_or_stopping(self, changed: asyncio.Event, seconds: float) -> None:
        """Wait for a change or the gateway's end, at most some seconds."""
        deadline = monotonic() + seconds
        while not (changed.is_set() or self.stopping()) and (left := deadline - monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), min(POLL, left))

    @contextmanager
    def _watching(self, job_id: str) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._watchers.setdefault(job_id, set()).add(changed)
        try:
            yield changed
        finally:
            self._watchers[job_id].discard(changed)
            if not self._watchers[job_id]:
                del self._watchers[job_id]

    def _with_progress(self, job: Job) -> Job:
        """Return a job with the newest progress, if it runs here."""
        run = self.running.get(job.id)
        if run is None or job.is_final:
            return job
        progress = run.progress
        eta = None if progress.eta is None else time() + progress.eta
        return replace(job, begun=progress.begun, position=progress.position, progress=progress.share, eta=eta)
