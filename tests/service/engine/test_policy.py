"""Who goes first and who goes along: promises of order and fairness, on numbers alone."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tintype.service.engine.batch_width import BatchLimit
from tintype.service.engine.policy import FairQueue, next_unit, order
from tintype.service.engine.task import Phase

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
    ready: bool = True
    waiting: bool = False
    holds: bool = False
    fresh: bool = False
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
    """Serves claims as the engine would, a call a second, and notes who was served when."""

    def __init__(self, patience: float = 1e9) -> None:
        self.fair_queue, self.patience = FairQueue(), patience
        self.claims: list[FakeTask] = []
        self.now, self.served = 0, list[FakeTask]()
        self.done: dict[int, int] = {}

    def arrive(self, steps: int, caller: str = "", priority: int = 0) -> FakeTask:
        number = len(self.claims) + len(self.done)
        claim = FakeTask(number, steps, caller, priority, self.now, self.fair_queue.add(caller))
        self.claims.append(claim)
        return claim

    def serve(self) -> bool:
        ordered = order(self.claims, self.fair_queue, now=self.now, patience=self.patience)
        unit = next_unit(ordered)
        if unit is None:
            return False
        self.now += 1
        claim = next(c for c in self.claims if unit.rows[0] in c.rows)
        self.served.append(claim)
        unit.rows[0].left -= 1
        self.fair_queue.charge(claim.caller, CALL)
        if not claim.unfinished:
            self.done[claim.number] = self.now
            self.claims.remove(claim)
            self.fair_queue.remove(claim.caller)
        return True

    def run(self, calls: int = 10**6) -> None:
        for _ in range(calls):
            if not self.serve():
                return


@pytest.mark.parametrize("callers", [["a"] * 9, list("abcdefghi")])
def test_short_jobs_overtake_a_long_one(callers: list[str]) -> None:
    """Eight jobs of 4 steps that come behind one of 50 are all done before it, and one after the other."""
    machine = Machine()
    long = machine.arrive(50, callers[0])
    machine.run(3)
    short = [machine.arrive(4, caller) for caller in callers[1:]]
    machine.run()
    assert [machine.done[job.number] for job in short] == [3 + 4 * k for k in range(1, 9)]
    assert machine.done[long.number] == 82


def test_a_job_runs_on_until_a_smaller_one_comes() -> None:
    """Equal jobs are not served in turns, which would end all of them late."""
    machine = Machine()
    jobs = [machine.arrive(10, caller) for caller in "abab"]
    machine.run()
    assert sorted(machine.done.values()) == [10, 20, 30, 40]
    assert machine.done[jobs[0].number] == 10


@given(st.integers(2, 60), st.integers(1, 8))
def test_a_stream_of_short_jobs_does_not_starve_a_long_one(steps: int, short: int) -> None:
    """A long job is overtaken by its own caller's later ones for as much work as it has itself, and no more."""
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
    """Even if each short job comes from a caller never seen before, the long one's turn comes."""
    machine = Machine()
    long = machine.arrive(steps, "old")
    while long.unfinished:
        machine.arrive(short, f"new {machine.now}")
        machine.run(short)
        assert machine.now <= 4 * steps + 4 * short


def test_a_flood_of_one_caller_costs_the_others_little() -> None:
    """Somebody who comes behind thirty jobs of somebody else waits for one job, not for thirty."""
    machine = Machine()
    for _ in range(30):
        machine.arrive(4, "flood")
    machine.run(10)
    late = machine.arrive(4, "late")
    machine.run()
    assert machine.done[late.number] <= 10 + 2 + 4 + 4


def test_callers_with_much_to_do_get_the_same() -> None:
    """Over any stretch in which both have work, two callers get the same, to within the largest job."""
    machine = Machine()
    for _ in range(20):
        machine.arrive(10, "long jobs")
    for _ in range(100):
        machine.arrive(2, "short jobs")
    machine.run(300)
    served = sum(claim.caller == "long jobs" for claim in machine.served)
    assert abs(served - 150) <= 10


def test_absence_earns_nothing() -> None:
    """Who comes late gets an equal share from then on, not what was missed."""
    machine = Machine()
    for _ in range(30):
        machine.arrive(10, "early")
    machine.run(100)
    for _ in range(30):
        machine.arrive(10, "late")
    machine.served.clear()
    machine.run(100)
    assert abs(sum(claim.caller == "late" for claim in machine.served) - 50) <= 10


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
    """After a patience for each level, it counts as high as those that keep coming."""
    machine = Machine(patience=5)
    low = machine.arrive(4, "low", priority=-10)
    while low.unfinished:
        machine.arrive(2, "high", priority=10)
        machine.run(2)
        assert machine.now <= 5 * 20 + 4 * 4
    assert machine.now > 5 * 20


def test_waiting_does_not_disturb_those_of_equal_priority() -> None:
    """Patience is about levels: among equals, short jobs overtake long ones however long those wait."""
    machine = Machine(patience=1)
    long = machine.arrive(50)
    machine.run(20)
    short = machine.arrive(4)
    machine.run()
    assert machine.done[short.number] == 24
    assert machine.done[long.number] == 54


claims = st.lists(
    st.builds(
        FakeTask,
        number=st.just(0),
        caller=st.sampled_from("abc"),
        priority=st.integers(-2, 2),
        arrived=st.floats(0, 50),
        served_before=st.integers(0, 5 * CALL),
        ready=st.booleans(),
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
).map(lambda found: [_numbered(claim, n) for n, claim in enumerate(found)])


def _numbered(claim: FakeTask, number: int) -> FakeTask:
    claim.number = number
    if claim.conditioning_key is None:
        for row in claim.rows:
            row.phase = Phase.ENCODE
    return claim


GOT = dict.fromkeys("abc", 3 * CALL)


@given(claims)
def test_order_loses_nobody(found: list[FakeTask]) -> None:
    """The order has everybody once, and is the same however they stand before."""
    ordered = order(found, GOT, now=60.0, patience=10.0)
    assert sorted(c.number for c in ordered) == list(range(len(found)))
    assert order(found[::-1], GOT, now=60.0, patience=10.0) == ordered


@given(claims)
def test_a_unit_is_for_the_first_who_is_ready(found: list[FakeTask]) -> None:
    """There is one whenever somebody is ready, and it serves the first or somebody about to join the first."""
    ordered = order(found, GOT, now=60.0, patience=10.0)
    ready = [claim for claim in ordered if claim.ready and claim.unfinished]
    unit = next_unit(ordered)
    assert (unit is None) == (not ready)
    if unit and unit.phase is not Phase.ENCODE:
        assert unit.rows[0] in ready[0].rows


@given(claims)
def test_rows_share_a_call_only_if_they_can(found: list[FakeTask]) -> None:
    """Same model and shape, same shape of text, all ready, at most as many as fit, nobody twice."""
    unit = next_unit(order(found, GOT, now=60.0, patience=10.0))
    if unit is None:
        return
    owners = [next(c for c in found if row in c.rows) for row in unit.rows]
    assert len(unit.rows) == len(set(map(id, unit.rows))) <= (owners[0].batch if unit.phase is Phase.DENOISE else 1)
    assert len({(c.batch_key, c.conditioning_key) for c in owners}) == 1
    assert all(c.ready for c in owners)
    assert all(row.phase is unit.phase and row.left for row in unit.rows)
    if len(unit.rows) > 1:
        assert not any(row.unbatched for row in unit.rows)
        assert owners[0].batched_timestep or len({row.timestep for row in unit.rows}) == 1


def test_the_call_is_as_full_as_it_can_be() -> None:
    """Rows further back join as long as there is room, and those whose prompts are missing are encoded first."""
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
        FakeTask(1, ready=False),
        FakeTask(1, rows=[FakeRow(4, unbatched=True)]),
        FakeTask(1, rows=[FakeRow(1, Phase.DECODE)]),
        FakeTask(1, rows=[FakeRow(0, Phase.DONE)]),
    ],
    ids=["conditioning", "model or shape", "not ready", "unbatched", "decoding", "done"],
)
def test_who_can_not_share_is_passed_over(stranger: FakeTask) -> None:
    """And those behind still join."""
    first, last = FakeTask(0, batch=3), FakeTask(2)
    unit = next_unit([first, stranger, last])
    assert unit is not None
    assert unit.rows == (first.rows[0], last.rows[0])


def test_a_fair_queue_forgets_callers() -> None:
    """A million callers who came once leave nothing behind, be there a lull or not."""
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
