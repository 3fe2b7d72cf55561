"""What the engine leaves out while nothing changes, compared with the long way."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.engine.exact import Bench, Clock, ExactModel, Shelf, spec
from tintype.service.engine import Engine, Limits, policy
from tintype.service.engine.events import Completed, Failed, Loading
from tintype.service.errors import DeadlineExceeded, OutOfMemory, QueueFull
from tintype.service.models.residency.leases import LeaseState

if TYPE_CHECKING:
    from collections.abc import Callable

    from tintype.service.engine import Ticket
    from tintype.service.engine.engine import Unit
    from tintype.service.engine.task import Task


class CheckedEngine(Engine):
    """An engine that computes anew, before each unit, what it takes as unchanged: leases, order, and the next unit.

    Its clock must stand still between two calls of a model. `skipped` counts the updates of leases that were left out,
    `repeated` the units that were the last one again.
    """

    skipped = repeated = 0

    def step(self) -> bool:
        now, live = self._clock(), self._live_tasks
        if now < live._next_check and live._leases.is_current(now):
            self.skipped += 1
            before = self._state()
            live._fail_expired(now)
            live._update_models(now)
            assert self._state() == before
        return super().step()

    def _next_unit(self, order: list[Task], now: float) -> Unit | None:
        queue, last = self._queue, self._last
        fresh = policy.order(queue, queue._fair_queue, now=self._clock(), patience=self._limits.patience)
        assert order == fresh
        expected = policy.next_unit(fresh)
        unit = super()._next_unit(order, now)
        assert unit == expected
        self.repeated += unit is not None and last is not None and unit is last.unit
        return unit

    def _state(self) -> object:
        """Return everything that an update of the leases may change."""
        leases = self._live_tasks._leases
        live = [(each.state, each.model, each.status, each.error) for each in leases._live]
        residency = deepcopy(vars(leases._residency))
        return live, residency, [*leases._ended], list(self._queue), len(self._reporter._events)


class CountingShelf(Shelf):
    """A repository that counts the lookups of its models."""

    lookups = 0

    def get(self, name: str = "") -> ExactModel | None:
        self.lookups += 1
        return super().get(name)


def checked_bench(shelf: type[Shelf] = Shelf, **limits: Any) -> Bench:
    """Return a bench with a CheckedEngine, on model a and on model b, whose graph takes one timestep for all rows."""
    clock = Clock()
    models = ExactModel(spec(name="a"), clock), ExactModel(spec(name="b", batched_timestep=False), clock)
    bench = Bench(*models)
    repository: Any = shelf(*models)
    bench.shelf = repository
    bench.engine = CheckedEngine(repository, limits=Limits(**limits), clock=clock, draw=lambda: 7)
    return bench


JOB = st.fixed_dictionaries(
    {
        "model": st.sampled_from("ab"),
        "caller": st.sampled_from("xyz"),
        "priority": st.integers(0, 2),
        "steps": st.integers(1, 12),
        "count": st.integers(1, 3),
        "guidance_scale": st.sampled_from([1.0, 3.0]),
        "prompt": st.sampled_from(["a lake", "a word " * 12, "a [lake:sea:0.5]"]),
        "prompt_weighting": st.booleans(),
        "sampler": st.sampled_from(["ddim", "heun", "dpmpp_2m"]),
    }
)


def fail_next(bench: Bench) -> None:
    """Let the next call of a model run out of memory."""

    def fail(_name: str, _rows: int) -> None:
        for model in bench.shelf.models.values():
            model.on_call = lambda _name, _rows: None
        raise OutOfMemory("full")

    for model in bench.shelf.models.values():
        model.on_call = fail


def unload(bench: Bench, name: str, *, waiting: bool) -> None:
    bench.shelf.absent.add(name)
    (bench.shelf.waiting.add if waiting else bench.shelf.waiting.discard)(name)


def finish_load(bench: Bench) -> None:
    bench.shelf.absent.clear()
    bench.shelf.waiting.clear()


def grow(bench: Bench) -> None:
    bench.shelf.fraction += 0.125


ACTIONS: dict[str, Callable[[Bench], None]] = {
    "out of memory": fail_next,
    "a is unloaded": lambda bench: unload(bench, "a", waiting=False),
    "a waits for memory": lambda bench: unload(bench, "a", waiting=True),
    "b waits for memory": lambda bench: unload(bench, "b", waiting=True),
    "loading goes on": grow,
    "all are loaded": finish_load,
    "the first is cancelled": lambda bench: bench.engine.cancel(next(iter(bench.events))),
}
EVENT = st.one_of(JOB, st.sampled_from(sorted(ACTIONS)), st.sampled_from([0.5, 3.0, 11.0]))


@given(
    st.lists(st.tuples(EVENT, st.integers(0, 10)), max_size=12),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0.0, 40.0]),
)
@settings(max_examples=25)
def test_nothing_is_missed(events: list[tuple[Any, int]], max_batch: int, deadline: float) -> None:
    """Whatever happens between two units, order, leases and the next unit are those that a new computation gives.

    Tasks come, leave and climb; models are loaded and evicted; calls fail; deadlines pass, with `deadline` seconds.
    """
    bench = checked_bench(max_batch=max_batch, queue=99)
    for event, steps in events:
        if isinstance(event, dict):
            with suppress(DeadlineExceeded, QueueFull):
                bench.admit(**event, deadline=bench.clock.now + deadline if deadline else None)
        elif isinstance(event, float):
            bench.clock.now += event
        elif bench.events or event != "the first is cancelled":
            ACTIONS[event](bench)
        bench.step(steps)
    finish_load(bench)
    bench.run()
    assert all(isinstance(of[-1], Completed | Failed) for of in bench.events.values())
    assert bench.shelf.holds == []


def test_a_batch_goes_on_without_lookups() -> None:
    """While one task runs and another waits, models are looked up only when one of them comes, starts or ends."""
    bench = checked_bench(CountingShelf, max_batch=1)
    bench.admit(model="a", steps=30)
    bench.admit(model="a", steps=30)
    bench.step(3)
    engine, shelf, order = bench.engine, bench.shelf, bench.engine._queue.ordered(bench.clock.now)
    assert isinstance(engine, CheckedEngine)
    assert isinstance(shelf, CountingShelf)
    engine.skipped = engine.repeated = 0
    bench.step(20)
    assert (engine.skipped, engine.repeated) == (20, 20)
    assert engine._queue.ordered(bench.clock.now) is order
    lookups = shelf.lookups
    Engine.step(engine)  # without the checks, which look up models themselves
    assert shelf.lookups == lookups


def test_a_load_and_an_eviction_are_seen_at_the_next_step() -> None:
    """The lease of a waiting task follows its model, while the batch of another task goes on."""
    bench = checked_bench(max_batch=1, patience=1000)
    bench.admit(model="a", steps=30, priority=1)
    bench.step(4)
    unload(bench, "b", waiting=True)
    lease = bench.task(bench.admit(model="b", steps=2)).lease
    changes: list[tuple[Callable[[], None], LeaseState]] = [
        (lambda: None, LeaseState.WAITING),
        (lambda: unload(bench, "b", waiting=False), LeaseState.LOADING),
        (lambda: finish_load(bench), LeaseState.FIRST_USE),
        (lambda: unload(bench, "b", waiting=False), LeaseState.LOADING),
    ]
    for change, state in changes:
        change()
        bench.step()
        assert lease.state is state
        bench.step(2)
        assert lease.state is state


def test_loading_is_reported_at_the_next_step() -> None:
    """A model's progress is a change, too."""
    bench = checked_bench(max_batch=1)
    bench.admit(model="a", steps=30)
    unload(bench, "b", waiting=False)
    waiting = bench.admit(model="b", steps=2)
    bench.step(4)
    grow(bench)
    bench.step()
    assert [event.fraction for event in bench.of(waiting, Loading)] == [0.0, 0.125]


def test_a_task_climbs_at_its_time() -> None:
    """A waiting task of lower priority runs as soon as it has gained a level, and not one call later."""
    bench = checked_bench(max_batch=1, patience=10.0)
    low = bench.admit(caller="x", steps=1)
    high = [bench.admit(caller="y", steps=40, priority=1) for _ in range(2)]
    arrived = bench.clock.now
    started: dict[Ticket, float] = {}
    while low not in started:
        bench.step()
        for ticket in (low, *high):
            if ticket not in started and bench.engine._live_tasks.find(ticket) and bench.task(ticket).started:
                started[ticket] = bench.clock.now - arrived
    assert 10.0 <= started[low] <= 10.0 + bench.model.cost["encode"] + bench.model.cost["denoise"]


def test_rows_that_have_the_same_timestep_for_a_while_part() -> None:
    """A graph with one timestep for all rows gets rows of two samplers only in calls whose timestep is the same."""
    bench = checked_bench(max_batch=2)
    bench.admit(model="b", steps=4, guidance_scale=1.0)
    bench.run()  # later calls do not change its cost, and so not the order
    tickets = [
        bench.admit(model="b", steps=4, guidance_scale=1.0, sampler=name, caller=name) for name in ("euler", "heun")
    ]
    bench.run()
    model = bench.shelf.models["b"]
    assert {rows for name, rows in model.calls if name == "denoise"} == {1, 2}
    assert all(isinstance(bench.events[ticket][-1], Completed) for ticket in tickets)
