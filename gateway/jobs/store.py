"""The jobs in the database.

- A job is queued, then taken by a process (*runner*), which extends its lease regularly until it ends the job.
- A job whose lease has expired is queued again: its process has died.
- The bytes of all requests and results are bounded. If there is too little space, the oldest finished jobs are deleted.
- The request of a job is deleted when it ends, the job itself when it expires. A queued job that expires fails first.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..access.rejections import KeyReused
from ..errors import StoreFull
from .errors import TooManyJobs
from .records import ROW_OVERHEAD, Job, NewJob, Result, State

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from ..database import Database
    from .running_job import Progress

LEASE = 10.0  # seconds without a sign of life after which a runner counts as dead
NOTHING = Result(status=0, headers={}, body=b"")  # of a cancelled job
_VACUUM_PAGES = 2000  # free pages returned to the file system at once
_ADD = """
    INSERT INTO jobs (id, key, caller, priority, path, model, images, links, seed, request, reply_key, fingerprint,
        created, expires, size)
    VALUES (:id, :key, :caller, :priority, :path, :model, :images, :links, :seed, :request, :reply_key, :fingerprint,
        :created, :expires, :size)
    RETURNING *
"""
_COUNT_OPEN = """
    SELECT 'queued', count(*) FROM jobs WHERE state = 'queued'
    UNION ALL SELECT 'running', count(*) FROM jobs WHERE state = 'running'
"""
_OLDEST = "SELECT seq, size FROM jobs WHERE finished IS NOT NULL ORDER BY finished LIMIT 1"
_PAGE = "SELECT * FROM jobs WHERE caller = ? AND key = ? AND seq < ? AND expires > ? ORDER BY seq DESC LIMIT ?"
_PAGE_OF_ALL = "SELECT * FROM jobs WHERE seq < ? AND expires > ? ORDER BY seq DESC LIMIT ?"
# The next jobs: by priority; then each caller's turn, which counts its running jobs; then by age.
_NEXT = """
    SELECT seq FROM (
        SELECT seq, priority, row_number() OVER (PARTITION BY caller ORDER BY priority DESC, seq) + coalesce(busy, 0)
            AS turn
        FROM jobs INDEXED BY queued_jobs LEFT JOIN (
            SELECT caller, count(*) AS busy FROM jobs WHERE state = 'running' GROUP BY caller
        ) USING (caller)
        WHERE state = 'queued' AND not_before <= ?
    )
    ORDER BY priority DESC, turn, seq LIMIT ?
"""
_TAKE = """
    UPDATE jobs SET state = 'running', started = coalesce(started, ?), attempts = attempts + 1, runner = ?, lease = ?,
        begun = 0, position = 0, eta = NULL
    WHERE seq = ? RETURNING *
"""
_TAKE_EXPIRED = """
    UPDATE jobs SET state = 'running', runner = ?, lease = ? WHERE seq IN (
        SELECT seq FROM jobs WHERE state = 'queued' AND expires <= ? LIMIT 100
    ) RETURNING *
"""
_REQUEUE = """
    UPDATE jobs SET state = 'queued', runner = '', not_before = ?, attempts = attempts - ?, begun = 0, position = 0,
        progress = 0, eta = NULL
"""
_AHEAD = """
    SELECT count(*) FROM jobs WHERE state = 'queued' AND (priority > ? OR (priority = ? AND seq < ?))
"""


@dataclass(slots=True)
class Beat:
    """What a runner learns: jobs that it has taken, must end as expired, has lost, must cancel; and the open jobs."""

    taken: list[Job] = field(default_factory=list)
    expired: list[Job] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    open: dict[str, int] = field(default_factory=dict)


class JobStore:
    """The jobs in `database`: at most `limit` open ones, and at most `capacity` bytes.

    Jobs are kept for `ttl` seconds, those whose result has links for `links_ttl` seconds after their end. `clock`
    returns Unix seconds. Every method raises StoreFull and DatabaseUnavailable.
    """

    def __init__(
        self,
        database: Database,
        *,
        limit: int,
        capacity: int,
        ttl: float,
        links_ttl: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._limit = limit
        self._capacity = capacity
        self._ttl = ttl
        self._links_ttl = min(links_ttl, ttl)
        self._clock = clock

    async def add(self, new: NewJob) -> tuple[Job, bool]:
        """Add a job; return it, or the job that has its Idempotency-Key already, and whether it is new.

        Raises KeyReused, TooManyJobs, StoreFull.
        """
        return await self._database.run(lambda connection: self._add(connection, new))

    async def find(self, reply_key: bytes, fingerprint: bytes) -> Job | None:
        """Return the job of an Idempotency-Key. Raises KeyReused if the key belongs to another body."""
        rows = await self._database.execute("SELECT * FROM jobs WHERE reply_key = ?", [reply_key])
        return _same(rows[0], fingerprint) if rows else None

    async def get(self, job_id: str) -> Job | None:
        """Return a job unless it has ended and expired; a queued one with its position."""
        return await self._database.run(lambda connection: self._get(connection, job_id))

    async def page(self, caller: str | None, key: str, after: str, limit: int) -> list[Job]:
        """Return jobs of a caller, or of all callers for None, newest first, older than the job `after`, if given."""
        return await self._database.run(lambda connection: self._page(connection, caller, key, after, limit))

    async def body(self, job: Job) -> bytes:
        """Return the body of a job's request; empty if it was deleted."""
        rows = await self._database.execute("SELECT data FROM bodies WHERE job = ?", [job.seq])
        return bytes(rows[0]["data"]) if rows else b""

    async def result(self, job: Job, limit: int = 2**62) -> bytes:
        """Return the body of a job's result; empty if it was deleted, or has more than `limit` bytes."""
        statement = "SELECT data FROM results WHERE job = ? AND length(data) <= ?"
        rows = await self._database.execute(statement, (job.seq, limit))
        return bytes(rows[0]["data"]) if rows else b""

    async def cancel(self, job_id: str) -> Job | None:
        """Cancel a queued job, or ask the runner of a running job to end it; return the job."""
        return await self._database.run(lambda connection: self._cancel(connection, job_id))

    async def cancel_queued(self, job_id: str) -> Job | None:
        """Cancel a job if it is queued; return the job, None if it was not queued."""
        return await self._database.run(lambda connection: self._cancel_queued(connection, job_id))

    async def finish(self, job: Job, runner: str, result: Result | None) -> bool:
        """End a job with its result, or as cancelled; return whether `runner` still held it. Raises StoreFull."""
        return await self._database.run(lambda connection: self._finish(connection, job, runner, result))

    async def hand_back(self, job: Job, runner: str, *, delay: float = 0.0, counts: bool = False) -> None:
        """Queue a running job again, after `delay` seconds; `counts` says that the attempt may have been its fault."""
        statement = f"{_REQUEUE} WHERE seq = ? AND runner = ? AND state = 'running'"
        parameters = (self._clock() + delay, 0 if counts else 1, job.seq, runner)
        await self._database.execute(statement, parameters)

    async def beat(self, runner: str, running: Mapping[str, Progress], capacity: int) -> Beat:
        """Extend the leases of a runner's jobs, queue jobs of dead runners, and take up to `capacity` jobs."""
        return await self._database.run(lambda connection: self._beat(connection, runner, running, capacity))

    async def sweep(self) -> int:
        """Delete finished jobs that have expired, and return their number."""
        count = await self._database.run(self._sweep)
        await self._database.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        return count

    def _add(self, connection: sqlite3.Connection, new: NewJob) -> tuple[Job, bool]:
        found = connection.execute("SELECT * FROM jobs WHERE reply_key = ?", [new.reply_key]).fetchone()
        if found is not None:
            return _same(found, new.fingerprint), False
        if sum(_count_open(connection).values()) >= self._limit:
            raise TooManyJobs(self._limit)
        size = ROW_OVERHEAD + len(new.body) + len(new.request)
        self._make_space(connection, size)
        now = self._clock()
        values = {name: getattr(new, name) for name in new.__slots__ if name != "body"}
        values |= {"created": now, "expires": now + self._ttl, "size": size}
        row = connection.execute(_ADD, values).fetchone()
        connection.execute("INSERT INTO bodies VALUES (?, ?)", (row["seq"], new.body))
        return _with_position(connection, Job.from_row(row), row["priority"]), True

    def _get(self, connection: sqlite3.Connection, job_id: str) -> Job | None:
        row = connection.execute("SELECT * FROM jobs WHERE id = ?", [job_id]).fetchone()
        if row is None or (row["expires"] <= self._clock() and row["finished"] is not None):
            return None
        return _with_position(connection, Job.from_row(row), row["priority"])

    def _page(self, connection: sqlite3.Connection, caller: str | None, key: str, after: str, limit: int) -> list[Job]:
        last = connection.execute("SELECT seq FROM jobs WHERE id = ?", [after]).fetchone()
        bounds = (last["seq"] if last else 2**62, self._clock(), limit)
        if caller is None:
            rows = connection.execute(_PAGE_OF_ALL, bounds).fetchall()
        else:
            rows = connection.execute(_PAGE, (caller, key, *bounds)).fetchall()
        return [_with_position(connection, Job.from_row(row), row["priority"]) for row in rows]

    def _cancel(self, connection: sqlite3.Connection, job_id: str) -> Job | None:
        connection.execute("UPDATE jobs SET cancelling = 1 WHERE id = ? AND state = 'running'", [job_id])
        return self._cancel_queued(connection, job_id) or self._get(connection, job_id)

    def _cancel_queued(self, connection: sqlite3.Connection, job_id: str) -> Job | None:
        row = connection.execute("SELECT seq FROM jobs WHERE id = ? AND state = 'queued'", [job_id]).fetchone()
        if row is None:
            return None
        self._end(connection, row["seq"], State.CANCELLED, NOTHING, self._ttl)
        return self._get(connection, job_id)

    def _finish(self, connection: sqlite3.Connection, job: Job, runner: str, result: Result | None) -> bool:
        held = "SELECT 1 FROM jobs WHERE seq = ? AND runner = ? AND state = 'running'"
        if connection.execute(held, (job.seq, runner)).fetchone() is None:
            return False
        if result is None:
            self._end(connection, job.seq, State.CANCELLED, NOTHING, self._ttl)
            return True
        connection.execute("UPDATE jobs SET size = 0 WHERE seq = ?", [job.seq])
        self._make_space(connection, ROW_OVERHEAD + len(result.body))
        has_links = job.links and result.state is State.SUCCEEDED
        self._end(connection, job.seq, result.state, result, self._links_ttl if has_links else self._ttl)
        return True

    def _end(self, connection: sqlite3.Connection, seq: int, state: State, result: Result, ttl: float) -> None:
        """Record the end of a job. Only a job that succeeded keeps its Idempotency-Key, as errors are not kept."""
        now, is_kept = self._clock(), state is State.SUCCEEDED
        connection.execute("DELETE FROM bodies WHERE job = ?", [seq])
        connection.execute(
            "UPDATE jobs SET state = ?, status = ?, headers = ?, error = ?, size = ?, finished = ?, expires = ?, "
            "progress = CASE WHEN ? THEN 1 ELSE progress END, reply_key = CASE WHEN ? THEN reply_key END, "
            "runner = '', position = 0, eta = NULL WHERE seq = ?",
            (
                *(state, result.status, json.dumps(dict(result.headers)), json.dumps(dict(result.error))),
                *(ROW_OVERHEAD + len(result.body), now, now + ttl, is_kept, is_kept, seq),
            ),
        )
        if result.body:
            connection.execute("INSERT INTO results VALUES (?, ?)", (seq, result.body))

    def _make_space(self, connection: sqlite3.Connection, size: int) -> None:
        """Delete the oldest finished jobs until `size` more bytes fit. Raises StoreFull if they do not."""
        used = connection.execute("SELECT coalesce(sum(size), 0) FROM jobs").fetchone()[0]
        while used + size > self._capacity:
            row = connection.execute(_OLDEST).fetchone()
            if row is None:
                raise StoreFull("There is no space left for jobs. Ask for links instead of 'b64_json', or try later.")
            connection.execute("DELETE FROM jobs WHERE seq = ?", [row["seq"]])
            used -= row["size"]

    def _beat(
        self, connection: sqlite3.Connection, runner: str, running: Mapping[str, Progress], capacity: int
    ) -> Beat:
        now, beat = self._clock(), Beat()
        for job_id, progress in running.items():
            row = connection.execute(
                "UPDATE jobs SET lease = ?, begun = ?, position = ?, progress = ?, eta = ? "
                "WHERE id = ? AND runner = ? AND state = 'running' RETURNING cancelling",
                (
                    *(now + LEASE, progress.begun, progress.position, progress.share),
                    *(None if progress.eta is None else now + progress.eta, job_id, runner),
                ),
            ).fetchone()
            if row is None:
                beat.lost.add(job_id)
            elif row["cancelling"]:
                beat.cancelled.add(job_id)
        connection.execute(f"{_REQUEUE} WHERE state = 'running' AND lease < ?", (0, 0, now))
        for row in connection.execute("SELECT seq FROM jobs WHERE state = 'queued' AND cancelling").fetchall():
            self._end(connection, row["seq"], State.CANCELLED, NOTHING, self._ttl)
        beat.expired = [Job.from_row(row) for row in connection.execute(_TAKE_EXPIRED, (runner, now + LEASE, now))]
        for row in connection.execute(_NEXT, (now, capacity)).fetchall() if capacity > 0 else ():
            taken = connection.execute(_TAKE, (now, runner, now + LEASE, row["seq"])).fetchone()
            beat.taken.append(Job.from_row(taken))
        beat.open = _count_open(connection)
        return beat

    def _sweep(self, connection: sqlite3.Connection) -> int:
        statement = "DELETE FROM jobs WHERE expires <= ? AND finished IS NOT NULL"
        return connection.execute(statement, [self._clock()]).rowcount


def _count_open(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of open jobs by state."""
    return {str(row[0]): int(row[1]) for row in connection.execute(_COUNT_OPEN).fetchall()}


def _same(row: sqlite3.Row, fingerprint: bytes | None) -> Job:
    """Return the job of a row. Raises KeyReused if its request has another fingerprint."""
    if row["fingerprint"] != fingerprint:
        raise KeyReused
    return Job.from_row(row)


def _with_position(connection: sqlite3.Connection, job: Job, priority: int) -> Job:
    """Return a queued job with the number of jobs before it; other jobs as they are."""
    if job.state is not State.QUEUED:
        return job
    ahead = connection.execute(_AHEAD, (priority, priority, job.seq)).fetchone()[0]
    return replace(job, position=ahead)
