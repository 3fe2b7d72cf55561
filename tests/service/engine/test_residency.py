"""Models that do not fit into memory together: few loads, and no task starves."""

from __future__ import annotations

from collections import deque
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.engine.by_hand import by_hand, images
from tests.support.engine.exact import Bench, Clock, ExactModel, Shelf, spec
from tintype.service.engine.events import Completed
from tintype.service.models import ModelState, ModelStatus

if TYPE_CHECKING:
    from collections.abc import Collection

    from tintype.service.engine import Ticket

NAMES = ("a", "b", "c")


class SingleModelShelf(Shelf):
    """A repository with memory for one model, which takes `takes` seconds to load, in FIFO order.

    As in the real repository, a loaded model stays `fresh` until a task holds it, or none has for a while.
    """

    def __init__(self, takes: float, *models: ExactModel) -> None:
        super().__init__(*models)
        self.takes, self.clock = takes, models[0].clock
        self.there = ""
        self.done = 0.0
        self.fresh = False
        self.line: deque[str] = deque()
        self.loaded: list[str] = []

    @property
    def version(self) -> object:
        """As in the real repository, whose timer ends the time of a fresh model, it changes with any model's state."""
        self._move()
        return self.there, self.clock.now >= self.done, tuple(self.line)

    def load(self, name: str = "", **_: bool) -> None:
        if name != self.there and name not in self.line:
            self.line.append(name)
        self._move()

    def get(self, name: str = "") -> ExactModel | None:
        self.load(name)
        return self.models[name] if name == self.there and self.clock.now >= self.done else None

    def status(self, name: str = "") -> ModelStatus:
        return ModelStatus(ModelState.WAITING if name in self.line else ModelState.LOADING)

    def release(self, name: str) -> None:
        super().release(name)
        self._move()

    def hold(self, name: str) -> None:
        assert name == self.there, "a held model is in memory"
        super().hold(name)
        self.fresh = False

    def set_demand(self, wanted: Collection[str], urgent: Collection[str]) -> None:
        assert {*urgent} <= {*wanted}
        self.line = deque(name for name in self.line if name in wanted)
        self.fresh = self.fresh and self.there in urgent
        self._move()

    def _move(self) -> None:
        until = self.done + 10 * self.fresh
        if self.line and not self.holds and self.clock.now >= until:
            self.there, self.fresh = self.line.popleft(), True
            self.done = self.clock.now + self.takes
            self.loaded.append(self.there)


def bench(takes: float, **limits: float) -> tuple[Bench, SingleModelShelf]:
    clock = Clock()
    made = Bench(*(ExactModel(spec(name=name), clock) for name in NAMES), **limits)
    shelf = SingleModelShelf(takes, *made.shelf.models.values())
    made.place(shelf)
    return made, shelf


def run(made: Bench) -> None:
    """Step until all tasks have ended; time passes while there is no work."""
    for _ in range(10_000):
        if not made.step():
            if not made.engine.busy:
                return
            made.clock.now += 0.1
    raise AssertionError("it does not end")


def ends(made: Bench) -> list[Ticket]:
    return [ticket for ticket, event in made.log if isinstance(event, Completed)]


def test_two_models_in_turn_are_loaded_once_each() -> None:
    """While loading takes longer than the jobs, all jobs of the loaded model run before the other is loaded."""
    made, shelf = bench(takes=60, patience=60)
    tickets = [made.admit(model=name, seed=7, steps=2) for name in ("a", "b", "a", "b", "a")]
    run(made)
    assert shelf.loaded == ["a", "b"]
    assert ends(made) == [tickets[place] for place in (0, 2, 4, 1, 3)]
    assert shelf.holds == []


def test_fast_loading_keeps_the_order() -> None:
    """The grace period is as long as loading: then the model is evicted as soon as its running jobs are done."""
    made, shelf = bench(takes=0.1, max_batch=1)
    tickets = [made.admit(model=name, seed=7, steps=4) for name in ("a", "b", "a", "b")]
    run(made)
    assert ends(made) == tickets
    assert shelf.loaded == ["a", "b", "a", "b"]


def test_the_grace_period_is_bounded() -> None:
    """However long loading takes and however many jobs arrive, another model waits for `patience` and one job."""
    made, shelf = bench(takes=600, patience=20, max_batch=1)
    made.admit(model="a", steps=4)
    other = made.admit(model="b", steps=4)
    job = 0.5 + 4 * 2 + 2
    while not made.of(other, Completed):
        assert made.clock.now - 1000 < 600 + 20 + job + 600 + 2 * job
        if len(made.engine._queue) < 3:
            made.admit(model="a", steps=4)
        if not made.step():
            made.clock.now += 0.1
    assert shelf.loaded == ["a", "b"]


def test_a_more_urgent_task_ends_the_grace_period() -> None:
    """A job of higher priority gets the memory when the running one is done."""
    made, shelf = bench(takes=60, max_batch=1)
    first, second = (made.admit(model="a", seed=7, steps=2) for _ in range(2))
    while not shelf.holds:
        made.step()
        made.clock.now += 0.1
    urgent = made.admit(model="b", seed=7, steps=2, priority=1)
    run(made)
    assert ends(made) == [first, urgent, second]
    assert shelf.loaded == ["a", "b", "a"]


def test_a_fresh_model_is_used_before_shorter_jobs() -> None:
    """A shorter job of another model that waits for the same memory does not block both."""
    made, shelf = bench(takes=2, max_batch=1)
    made.admit(model="a", steps=9, caller="x")
    made.step()
    made.admit(model="b", steps=1, caller="y")
    began = made.clock.now
    run(made)
    assert shelf.loaded == ["a", "b"]
    job = 0.5 + 2  # encoding and decoding
    assert made.clock.now - began == pytest.approx(2 + job + 9 + 2 + job + 1, abs=0.5)


def test_a_fresh_model_is_evicted_for_a_more_urgent_task() -> None:
    """It is not used before the urgent job, nor does it keep the memory from it."""
    made, shelf = bench(takes=2, max_batch=1)
    low = made.admit(model="a", steps=3)
    made.step()
    high = made.admit(model="b", steps=3, priority=1)
    began = made.clock.now
    run(made)
    assert ends(made) == [high, low]
    assert shelf.loaded == ["a", "b", "a"]
    assert made.clock.now - began < 3 * 2 + 2 * (0.5 + 3 + 2) + 1


def test_nothing_is_loaded_for_cancelled_tasks() -> None:
    """When the last task that waits for a model is cancelled, its queued load is cancelled as well."""
    made, shelf = bench(takes=2)
    made.admit(model="a", steps=3)
    while not shelf.holds:
        made.step()
        made.clock.now += 0.1
    other = made.admit(model="b", steps=3)
    made.step()
    made.engine.cancel(other)
    run(made)
    assert (shelf.loaded, [*shelf.line]) == (["a"], [])


def test_a_used_model_is_not_fresh() -> None:
    """A model with constantly arriving jobs, which is never idle, does not keep the memory forever."""
    made, shelf = bench(takes=2, max_batch=4)
    steps = cycle((3, 7))
    for _ in range(2):
        made.admit(model="a", steps=next(steps))
    while not shelf.holds:
        made.step()
        made.clock.now += 0.1
    made.step(3)
    other = made.admit(model="b", steps=4, caller="another")
    began = made.clock.now
    while not made.of(other, Completed):
        assert made.clock.now - began < 60
        if len(made.engine._queue) < 4:
            made.admit(model="a", steps=next(steps))
        if not made.step():
            made.clock.now += 0.1
    assert shelf.loaded == ["a", "b"]


def test_a_raised_task_gets_memory_from_higher_priorities() -> None:
    """Its model is used, and not evicted for jobs whose level the task has reached, which never end."""
    made, _ = bench(takes=2, patience=10, max_batch=1)
    made.admit(model="a", steps=4, priority=1)
    low = made.admit(model="b", steps=4)
    began = made.clock.now
    while not made.of(low, Completed):
        assert made.clock.now - began < 60
        if len(made.engine._queue) < 3:
            made.admit(model="a", steps=4, priority=1)
        if not made.step():
            made.clock.now += 0.1


JOB = st.tuples(st.sampled_from(NAMES), st.integers(1, 4), st.integers(0, 1), st.sampled_from("xy"))


@given(
    st.lists(st.tuples(JOB, st.integers(0, 8), st.booleans()), min_size=1, max_size=12),
    st.sampled_from([0.0, 3.0, 30.0]),
    st.sampled_from([0, 1]),
)
@settings(max_examples=60, deadline=None)
def test_every_task_is_served(
    arrivals: list[tuple[tuple[str, int, int, str], int, bool]], takes: float, max_batch: int
) -> None:
    """Three models with memory for one, some jobs cancelled: images are those of a job alone, nothing is held."""
    made, shelf = bench(takes, max_batch=max_batch)
    staying: dict[Ticket, int] = {}
    for (name, steps, priority, caller), units, leaves in arrivals:
        ticket = made.admit(model=name, seed=7, steps=steps, priority=priority, caller=caller)
        made.step(units)
        made.clock.now += units
        if leaves:
            made.engine.cancel(ticket)
        else:
            staying[ticket] = steps
    run(made)
    assert shelf.holds == []
    for ticket, steps in staying.items():
        assert np.array_equal(images(made, ticket)[0], by_hand("a lake", 7, steps=steps))
