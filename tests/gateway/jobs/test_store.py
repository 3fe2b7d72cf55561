"""Jobs in the database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.clock import Clock
from tintype.gateway.access.rejections import KeyReused
from tintype.gateway.database import Database, connect
from tintype.gateway.errors import StoreFull
from tintype.gateway.jobs import store as store_module
from tintype.gateway.jobs.errors import TooManyJobs
from tintype.gateway.jobs.records import MIGRATIONS, ROW_OVERHEAD, NewJob, Result, State
from tintype.gateway.jobs.running_job import Progress
from tintype.gateway.jobs.store import LEASE, JobStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tintype.gateway.jobs.records import Job

pytestmark = pytest.mark.anyio
TTL, LINKS_TTL = 1000.0, 100.0
DONE = Result(status=200, headers={"x-a": "b"}, body=b'{"data":[]}')
BROKEN = Result(status=400, headers={}, body=b"{}", error={"status": 400, "reason": "X", "message": "m", "param": None})
LIMIT, CAPACITY = 5, 100_000


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000.0)


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[JobStore]:
    database = Database(tmp_path / "jobs.db", MIGRATIONS)
    await database.open()
    yield JobStore(database, limit=LIMIT, capacity=CAPACITY, ttl=TTL, links_ttl=LINKS_TTL, clock=clock)
    await database.close()


def new(name: str, **changes: object) -> NewJob:
    """Return a job to add."""
    job = NewJob(
        id=name,
        key="alice",
        caller="alice",
        priority=0,
        path="/v1/images/generations",
        model="",
        images=1,
        links=False,
        seed=7,
        request="{}",
        body=b"body of " + name.encode(),
    )
    return replace(job, **changes)  # type: ignore[arg-type]


async def added(store: JobStore, name: str, **changes: object) -> Job:
    return (await store.add(new(name, **changes)))[0]


async def taken(store: JobStore, capacity: int = 10, runner: str = "r1") -> list[Job]:
    """Return the jobs that a runner takes."""
    return (await store.beat(runner, {}, capacity)).taken


class TestOrder:
    async def test_jobs_are_taken_by_priority_then_by_age(self, store: JobStore) -> None:
        """Positions say what is before a job, and jobs are taken in that order, no more than asked for."""
        for name, priority in (("a", 0), ("b", 0), ("c", 5)):
            await added(store, name, priority=priority)
        found = [await store.get(name) for name in "abc"]
        assert [job.position for job in found if job] == [1, 2, 0]
        assert [job.id for job in await taken(store, 2)] == ["c", "a"]
        assert [job.id for job in await taken(store, 2)] == ["b"]

    async def test_callers_take_turns(self, store: JobStore) -> None:
        """Many jobs of one caller do not keep those of another one waiting; running jobs count."""
        for name in ("a1", "a2", "a3"):
            await added(store, name, caller="alice")
        await added(store, "b1", caller="bob")
        assert [job.id for job in await taken(store, 2)] == ["a1", "b1"]
        await added(store, "b2", caller="bob")
        assert [job.id for job in await taken(store, 2)] == ["a2", "b2"]

    async def test_a_delayed_job_waits(self, store: JobStore, clock: Clock) -> None:
        """A job that was handed back with a delay is taken after it."""
        (job,) = [await added(store, "a")] and await taken(store)
        await store.hand_back(job, "r1", delay=5)
        assert await taken(store) == []
        clock.now += 6
        assert [job.attempts for job in await taken(store)] == [1]


class TestLeases:
    async def test_jobs_of_a_dead_runner_run_again(self, store: JobStore, clock: Clock) -> None:
        """Without a sign of life for the lease's time a job is queued again, and its attempts count."""
        await added(store, "a")
        assert [job.attempts for job in await taken(store, runner="r1")] == [1]
        clock.now += LEASE - 1
        assert await taken(store, runner="r2") == []
        clock.now += 2
        assert [job.attempts for job in await taken(store, runner="r2")] == [2]
        beat = await store.beat("r1", {"a": Progress(1)}, 10)
        assert (beat.lost, beat.taken) == ({"a"}, [])

    async def test_beats_extend_the_lease_and_report_progress(self, store: JobStore, clock: Clock) -> None:
        """A running job stays with its runner, and other gateways see its progress."""
        await added(store, "a")
        await taken(store)
        progress = Progress(1, begun=True, eta=30.0)
        for _ in range(5):
            clock.now += LEASE - 1
            assert (await store.beat("r1", {"a": progress}, 0)).lost == set()
        job = await store.get("a")
        assert job
        assert (job.state, job.begun, job.eta) == (State.RUNNING, True, clock.now + 30)

    async def test_only_the_holder_may_finish(self, store: JobStore) -> None:
        """The result of a runner that lost its job is dropped."""
        await added(store, "a")
        (job,) = await taken(store, runner="r2")
        assert not await store.finish(job, "r1", DONE)
        assert await store.finish(job, "r2", DONE)
        assert not await store.finish(job, "r2", BROKEN)

    async def test_handing_back_counts_no_attempt(self, store: JobStore) -> None:
        """A job that a stopping gateway hands back is taken as if it had never run."""
        await added(store, "a")
        for _ in range(4):
            (job,) = await taken(store)
            await store.hand_back(job, "r1")
        assert [job.attempts for job in await taken(store)] == [1]


class TestEnds:
    async def test_result_is_kept_and_request_deleted(self, store: JobStore, clock: Clock) -> None:
        """A finished job has its result until it expires, one with links as long as the links."""
        for name, links in (("a", False), ("b", True)):
            await added(store, name, links=links)
        for job in await taken(store):
            assert await store.body(job) == b"body of " + job.id.encode()
            await store.finish(job, "r1", DONE)
            assert await store.body(job) == b""
        found = await store.get("a")
        assert found
        assert (found.state, found.status, found.headers, found.progress) == (State.SUCCEEDED, 200, {"x-a": "b"}, 1)
        assert await store.result(found) == DONE.body
        assert await store.result(found, 3) == b""
        clock.now += LINKS_TTL
        assert (await store.get("a"), await store.get("b")) == (found, None)
        assert await store.sweep() == 1
        clock.now += TTL
        assert await store.sweep() == 1
        assert await store.get("a") is None

    async def test_a_queued_job_that_expires_is_ended(self, store: JobStore, clock: Clock) -> None:
        """One runner gets it, to end it, even without capacity; it is deleted only after its end, and later."""
        await added(store, "a")
        clock.now += TTL - 1
        await added(store, "b")
        clock.now += 1
        assert await store.sweep() == 0
        assert (await store.get("a")).state is State.QUEUED  # type: ignore[union-attr]
        beat = await store.beat("r1", {}, 0)
        assert ([job.id for job in beat.expired], beat.taken) == (["a"], [])
        assert (await store.beat("r2", {}, 0)).expired == []
        assert await store.finish(beat.expired[0], "r1", BROKEN)
        found = await store.get("a")
        assert found
        assert (found.state, found.started, found.expires) == (State.FAILED, None, clock.now + TTL)
        clock.now += TTL
        assert await store.get("a") is None
        assert await store.sweep() == 1

    async def test_an_expired_job_of_a_dead_runner_is_ended_by_another(self, store: JobStore, clock: Clock) -> None:
        """A runner that died before it ended the job does not keep it."""
        await added(store, "a")
        clock.now += TTL
        assert len((await store.beat("r1", {}, 0)).expired) == 1
        clock.now += LEASE + 1
        assert [job.id for job in (await store.beat("r2", {}, 1)).expired] == ["a"]

    async def test_a_queued_job_is_cancelled_at_once(self, store: JobStore) -> None:
        """It never runs; cancelling again changes nothing."""
        await added(store, "a")
        for _ in range(2):
            found = await store.cancel("a")
            assert found
            assert found.state is State.CANCELLED
        assert await taken(store) == []

    async def test_the_runner_of_a_running_job_is_asked_to_end_it(self, store: JobStore, clock: Clock) -> None:
        """The next beat of its runner says so; if that has died, the job is cancelled without it."""
        for name in "ab":
            await added(store, name)
        jobs = await taken(store)
        for name in "ab":
            assert (await store.cancel(name)).state is State.RUNNING  # type: ignore[union-attr]
        assert (await store.beat("r1", {"a": Progress(1)}, 0)).cancelled == {"a"}
        assert await store.finish(jobs[0], "r1", None)
        clock.now += LEASE + 1
        assert await taken(store, runner="r2") == []
        assert [(await store.get(name)).state for name in "ab"] == [State.CANCELLED] * 2  # type: ignore[union-attr]

    async def test_a_finished_job_is_not_cancelled(self, store: JobStore) -> None:
        """Its result stays."""
        await added(store, "a")
        (job,) = await taken(store)
        await store.finish(job, "r1", DONE)
        assert (await store.cancel("a")).state is State.SUCCEEDED  # type: ignore[union-attr]
        assert await store.cancel("unknown") is None


class TestKeys:
    async def test_a_key_gives_the_same_job(self, store: JobStore) -> None:
        """A repeated submission gets the first job, also after its end; another body is an error."""
        first, is_new = await store.add(new("a", reply_key=b"k", fingerprint=b"f"))
        assert is_new
        again, is_new = await store.add(new("b", reply_key=b"k", fingerprint=b"f"))
        assert (again.id, is_new) == ("a", False)
        with pytest.raises(KeyReused):
            await store.add(new("c", reply_key=b"k", fingerprint=b"g"))
        with pytest.raises(KeyReused):
            await store.find(b"k", b"g")
        await taken(store)
        await store.finish(first, "r1", DONE)
        found = await store.find(b"k", b"f")
        assert found
        assert found.id == "a"

    @pytest.mark.parametrize("result", [BROKEN, None])
    async def test_errors_keep_no_key(self, store: JobStore, result: Result | None) -> None:
        """After a failed or cancelled job its key makes a new one, as for requests that wait."""
        first = await added(store, "a", reply_key=b"k", fingerprint=b"f")
        await taken(store)
        await store.finish(first, "r1", result)
        assert (await store.add(new("b", reply_key=b"k", fingerprint=b"f")))[1]


class TestBounds:
    async def test_open_jobs_are_bounded(self, store: JobStore) -> None:
        """Beyond the limit an error says so; a job that ends makes room."""
        for number in range(LIMIT):
            await added(store, str(number))
        with pytest.raises(TooManyJobs) as caught:
            await added(store, "more")
        assert (caught.value.status, caught.value.retry_after) == (429, 10)
        await store.cancel("0")
        await added(store, "more")

    async def test_bytes_are_bounded(self, store: JobStore) -> None:
        """The oldest finished jobs make room for new ones; open jobs never do."""
        size = CAPACITY // 3 - ROW_OVERHEAD - 100
        for name in "abc":
            await added(store, name)
            for job in await taken(store):
                await store.finish(job, "r1", replace(DONE, body=b"x" * size))
        await added(store, "d", body=b"x" * size)
        assert [bool(await store.get(name)) for name in "abcd"] == [False, True, True, True]
        with pytest.raises(StoreFull, match="space left for jobs"):
            await added(store, "e", body=b"x" * CAPACITY)
        assert await store.get("d")

    async def test_a_result_without_space_leaves_the_job_to_its_runner(self, store: JobStore) -> None:
        """The runner can then end it with an error."""
        job = await added(store, "a")
        await taken(store)
        with pytest.raises(StoreFull):
            await store.finish(job, "r1", replace(DONE, body=b"x" * CAPACITY))
        assert await store.finish(job, "r1", BROKEN)


async def test_pages_are_newest_first_and_of_one_caller(store: JobStore) -> None:
    """A page continues after a job; without a caller it has the jobs of all."""
    for name, caller in (("a", "alice"), ("b", "bob"), ("c", "alice"), ("d", "alice")):
        await added(store, name, caller=caller, key=caller)
    assert [job.id for job in await store.page("alice", "alice", "", 2)] == ["d", "c"]
    assert [job.id for job in await store.page("alice", "alice", "c", 2)] == ["a"]
    assert [job.id for job in await store.page("alice", "", "", 9)] == []
    assert [job.id for job in await store.page(None, "", "", 9)] == ["d", "c", "b", "a"]


@pytest.mark.parametrize("statement", [store_module._NEXT, store_module._AHEAD, store_module._COUNT_OPEN])
async def test_finished_jobs_are_not_read_to_find_open_ones(tmp_path: Path, statement: str) -> None:
    """What runs every second reads the indexes of open jobs only, however many finished ones are kept."""
    connection = connect(tmp_path / "jobs.db", MIGRATIONS)
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", [0] * statement.count("?")).fetchall()
    connection.close()
    scanned = [row["detail"] for row in rows if "jobs" in row["detail"]]
    assert scanned
    assert all("queued_jobs" in detail or "running_jobs" in detail for detail in scanned)
