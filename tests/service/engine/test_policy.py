"""Scheduling order, fairness and batches, on numbers alone."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tintype.service.engine.batch_width import BatchLimit
from tintype.service.engine.policy import FairQueue, next_unit, order
from tintype.service.engine.task import Phase
from tintype.service.models.residency.leases import LeaseState

CALL = 1000  # microseconds


@dataclass(eq=False)
class FakeRow:
    left: int
    phase: Phase = Phase.DENOISE
    unbatched: bool = False
    timestep: float = 0.0
    model_rows: int = 1


@dataclass(eq=False)
class FakeTask:
    number: int
    steps: int = 4
    caller: str = ""
    priority: int = 0
    arrived: float = 0.0
    served_before: int = 0
    state: LeaseState = LeaseState.READY
    batch: int = 1  # images to a call
    batch_key: str = "model"
    conditioning_key: str | None = "77"
    batched_timestep: bool = True
    rows: list[FakeRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = self.rows or [FakeRow(self.steps)]

    @property
    def batch_limit(self) -> BatchLimit:
        return BatchLimit(self.batch, 2 * self.batch)

    def width(self, _model_rows: int, /) -> int:
        return self.batch_limit.model_rows

    @property
    def work(self) -> int:
        return sum(row.left for row in self.unfinished) * CALL

    @property
    def unfinished(self) -> list[FakeRow]:
        return [row for row in self.rows if row.left]


class Machine:
    """Serves tasks as the engine would, one call per second, and records the order of service."""

    def __init__(self, patience: float = 1e9) -> None:
        self.fair_queue, self.patience = FairQueue(), patience
        self.tasks: list[FakeTask] = []
        self.now, self.served = 0, list[FakeTask]()
        self.done: dict[int, int] = {}

    def arrive(self, steps: int, caller: str = "", priority: int = 0) -> FakeTask:
        number = len(self.tasks) + len(self.done)
        task = FakeTask(number, steps, caller, priority, self.now, self.fair_queue.add(caller))
        self.tasks.append(task)
        return task

    def serve(self) -> bool:
        ordered = order(self.tasks, self.fair_queue, now=self.now, patience=self.patience)
        unit = next_unit(ordered)
        if unit is None:
            return False
        self.now += 1
        task = next(c for c in self.tasks if unit.rows[0] in c.rows)
        self.served.append(task)
        unit.rows[0].left -= 1
        self.fair_queue.charge(task.caller, CALL)
        if not task.unfinished:
            self.done[task.number] = self.now
            self.tasks.remove(task)
            self.fair_queue.remove(task.caller)
        return True

    def run(self, calls: int = 10**6) -> None:
        for _ in range(calls):
            if not self.serve():
                return


@pytest.mark.parametrize("callers", [["a"] * 9, list("abcdefghi")])
def test_short_jobs_overtake_a_long_one(callers: list[str]) -> None:
    """Eight jobs of 4 steps that arrive after one of 50 are all done before it, one after the other."""
    machine = Machine()
    long = machine.arrive(50, callers[0])
    machine.run(3)
    short = [machine.arrive(4, caller) for caller in callers[1:]]
    machine.run()
    assert [machine.done[job.number] for job in short] == [3 + 4 * k for k in range(1, 9)]
    assert machine.done[long.number] == 82


def test_a_job_runs_until_a_smaller_one_arrives() -> None:
    """Equal jobs are not interleaved, which would delay all of them."""
    machine = Machine()
    jobs = [machine.arrive(10, caller) for caller in "abab"]
    machine.run()
    assert sorted(machine.done.values()) == [10, 20, 30, 40]
    assert machine.done[jobs[0].number] == 10


@given(st.integers(2, 60), st.integers(1, 8))
def test_a_stream_of_short_jobs_does_not_starve_a_long_one(steps: int, short: int) -> None:
    """Later jobs of its caller overtake a long job for as much work as it has itself."""
    machine = Machine()
    long = machine.arrive(steps)
    while long.unfinished:
        machine.arrive(short)
        machine.run(short)
        assert machine.now <= 2 * steps + short
    assert machine.done[long.number] <= 2 * steps + short


@given(st.integers(2, 40), st.integers(1, 8))
@settings(deadline=None)
def test_new_callers_do_not_starve_an_old_one(steps: int, short: int) -> None:
    """Even if each short job comes from a new caller, the long one is served."""
    machine = Machine()
    long = machine.arrive(steps, "old")
    while long.unfinished:
        machine.arrive(short, f"new {machine.now}")
        machine.run(short)
        assert machine.now <= 4 * steps + 4 * short


def test_a_flood_of_one_caller_costs_the_others_little() -> None:
    """A job behind thirty of another caller waits for one job, not for thirty."""
    machine = Machine()
    for _ in range(30):
        machine.arrive(4, "flood")
    machine.run(10)
    late = machine.arrive(4, "late")
    machine.run()
    assert machine.done[late.number] <= 10 + 2 + 4 + 4


def test_busy_callers_get_equal_service() -> None:
    """While both have work, two callers get equal service, to within the largest job."""
    machine = Machine()
    for _ in range(20):
        machine.arrive(10, "long jobs")
    for _ in range(100):
        machine.arrive(2, "short jobs")
    machine.run(300)
    served = sum(task.caller == "long jobs" for task in machine.served)
    assert abs(served - 150) <= 10


def test_absence_earns_no_credit() -> None:
    """A caller that arrives late gets an equal share from then on."""
    machine = Machine()
    for _ in range(30):
        machine.arrive(10, "early")
    machine.run(100)
    for _ in range(30):
        machine.arrive(10, "late")
    machine.served.clear()
    machine.run(100)
    assert abs(sum(task.caller == "late" for task in machine.served) - 50) <= 10


def test_higher_priority_goes_first() -> None:
    """However long its job is, and even between two steps of another."""
    machine = Machine()
    low = machine.arrive(4)
    machine.run(1)
    high = machine.arrive(50, priority=1)
    machine.run()
    assert machine.done[high.number] == 51
    assert machine.done[low.number] == 54


def test_low_priority_does_not_starve() -> None:
    """After one patience per level it has the level of those that keep arriving."""
    machine = Machine(patience=5)
    low = machine.arrive(4, "low", priority=-10)
    while low.unfinished:
        machine.arrive(2, "high", priority=10)
        machine.run(2)
        assert machine.now <= 5 * 20 + 4 * 4
    assert machine.now > 5 * 20


def test_waiting_does_not_change_the_order_of_equals() -> None:
    """At equal priority short jobs overtake long ones, however long those wait."""
    machine = Machine(patience=1)
    long = machine.arrive(50)
    machine.run(20)
    short = machine.arrive(4)
    machine.run()
    assert machine.done[short.number] == 24
    assert machine.done[long.number] == 54


tasks = st.lists(
    st.builds(
        FakeTask,
        number=st.just(0),
        caller=st.sampled_from("abc"),
        priority=st.integers(-2, 2),
        arrived=st.floats(0, 50),
        served_before=st.integers(0, 5 * CALL),
        state=st.sampled_from([LeaseState.READY, LeaseState.LOADING]),
        batch=st.integers(1, 4),
        batch_key=st.sampled_from(["x", "y"]),
        conditioning_key=st.sampled_from([None, "77", "154"]),
        batched_timestep=st.booleans(),
        rows=st.lists(
            st.builds(
                FakeRow,
                left=st.integers(0, 5),
                phase=st.sampled_from([Phase.DENOISE, Phase.DENOISE, Phase.DECODE]),
                unbatched=st.booleans(),
                timestep=st.sampled_from([1.0, 2.0]),
            ),
            min_size=1,
            max_size=4,
        ),
    ),
    max_size=8,
).map(lambda found: [_numbered(task, n) for n, task in enumerate(found)])


def _numbered(task: FakeTask, number: int) -> FakeTask:
    task.number = number
    if task.conditioning_key is None:
        for row in task.rows:
            row.phase = Phase.ENCODE
    return task


GOT = dict.fromkeys("abc", 3 * CALL)


@given(tasks)
def test_order_has_every_task_once(found: list[FakeTask]) -> None:
    """The order has every task once and does not depend on the input order."""
    ordered = order(found, GOT, now=60.0, patience=10.0)
    assert sorted(c.number for c in ordered) == list(range(len(found)))
    assert order(found[::-1], GOT, now=60.0, patience=10.0) == ordered


@given(tasks)
def test_a_unit_is_for_the_first_ready_task(found: list[FakeTask]) -> None:
    """There is a unit if any task is ready, for the first one or for one about to join it."""
    ordered = order(found, GOT, now=60.0, patience=10.0)
    ready = [task for task in ordered if task.state.may_run and task.unfinished]
    unit = next_unit(ordered)
    assert (unit is None) == (not ready)
    if unit and unit.phase is not Phase.ENCODE:
        assert unit.rows[0] in ready[0].rows


@given(tasks)
def test_rows_share_a_call_only_if_they_can(found: list[FakeTask]) -> None:
    """Rows of a unit have equal model, shape and conditioning shape, are ready, fit the limit and are distinct."""
    unit = next_unit(order(found, GOT, now=60.0, patience=10.0))
    if unit is None:
        return
    owners = [next(c for c in found if row in c.rows) for row in unit.rows]
    assert len(unit.rows) == len(set(map(id, unit.rows))) <= (owners[0].batch if unit.phase is Phase.DENOISE else 1)
    assert len({(c.batch_key, c.conditioning_key) for c in owners}) == 1
    assert all(c.state.may_run for c in owners)
    assert all(row.phase is unit.phase and row.left for row in unit.rows)
    if len(unit.rows) > 1:
        assert not any(row.unbatched for row in unit.rows)
        assert owners[0].batched_timestep or len({row.timestep for row in unit.rows}) == 1


def test_a_batch_is_as_full_as_possible() -> None:
    """Later rows join while there is room, and rows without encoded prompts are encoded first."""
    jobs = [FakeTask(n, batch=3) for n in range(2)] + [
        FakeTask(2, batch=3, conditioning_key=None, rows=[FakeRow(4, Phase.ENCODE)])
    ]
    unit = next_unit(jobs)
    assert unit is not None
    assert (unit.phase, unit.rows) == (Phase.ENCODE, tuple(jobs[2].rows))
    jobs[2].conditioning_key, jobs[2].rows[0].phase = "77", Phase.DENOISE
    unit = next_unit(jobs)
    assert unit is not None
    assert unit.rows == tuple(job.rows[0] for job in jobs)


@pytest.mark.parametrize(
    "stranger",
    [
        FakeTask(1, conditioning_key="154"),
        FakeTask(1, batch_key="other"),
        FakeTask(1, state=LeaseState.LOADING),
        FakeTask(1, rows=[FakeRow(4, unbatched=True)]),
        FakeTask(1, rows=[FakeRow(1, Phase.DECODE)]),
        FakeTask(1, rows=[FakeRow(0, Phase.DONE)]),
    ],
    ids=["conditioning", "model or shape", "not ready", "unbatched", "decoding", "done"],
)
def test_rows_that_cannot_join_are_skipped(stranger: FakeTask) -> None:
    """Rows after them still join."""
    first, last = FakeTask(0, batch=3), FakeTask(2)
    unit = next_unit([first, stranger, last])
    assert unit is not None
    assert unit.rows == (first.rows[0], last.rows[0])


def test_a_fair_queue_forgets_callers() -> None:
    """Callers that came once leave nothing behind, with or without an idle time."""
    fair_queue = FairQueue()
    fair_queue.add("always")
    for n in range(1000):
        fair_queue.add(str(n))
        fair_queue.charge(str(n), 4)
        fair_queue.charge("always", 6)
        fair_queue.remove(str(n))
    assert len(fair_queue._served) < 5
    fair_queue.remove("always")
    assert not fair_queue._served
