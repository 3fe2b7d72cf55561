"""Models that don't fit together: loads are few, and nobody waits for ever."""

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
from tintype.service.engine.load_grace import LoadGrace
from tintype.service.models import ModelState, ModelStatus

if TYPE_CHECKING:
    from collections.abc import Collection

    from tintype.service.engine import Ticket

NAMES = ("a", "b", "c")


class OnePlace(Shelf):
    """A repository with memory for one model, which `takes` seconds to load; next comes who has waited longest.

    As in the real one, a model that has come stays `fresh` until somebody holds it, or nobody does for a while.
    """

    def __init__(self, takes: float, *models: ExactModel) -> None:
        super().__init__(*models)
        self.takes, self.clock = takes, models[0].clock
        self.there = ""
        self.done = 0.0
        self.fresh = False
        self.line: deque[str] = deque()
        self.loaded: list[str] = []

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
        assert name == self.there, "what is held is in memory"
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


def bench(takes: float, **limits: float) -> tuple[Bench, OnePlace]:
    clock = Clock()
    made = Bench(*(ExactModel(spec(name=name), clock) for name in NAMES), **limits)
    shelf = OnePlace(takes, *made.shelf.models.values())
    made.place(shelf)
    return made, shelf


def run(made: Bench) -> None:
    """Step until all is done; where there is nothing to do, time passes."""
    for _ in range(10_000):
        if not made.step():
            if not made.engine.busy:
                return
            made.clock.now += 0.1
    raise AssertionError("it does not end")


def ends(made: Bench) -> list[Ticket]:
    return [ticket for ticket, event in made.log if isinstance(event, Completed)]


def test_jobs_of_two_models_in_turn_load_each_once() -> None:
    """While loading takes longer than the jobs, all of the model that is there go before the other is loaded."""
    made, shelf = bench(takes=60, patience=60)
    tickets = [made.admit(model=name, seed=7, steps=2) for name in ("a", "b", "a", "b", "a")]
    run(made)
    assert shelf.loaded == ["a", "b"]
    assert ends(made) == [tickets[place] for place in (0, 2, 4, 1, 3)]
    assert shelf.holds == []


def test_where_loading_is_quick_the_order_is_kept() -> None:
    """A model's turn ends with as much time as it took to load: then it goes as soon as its running jobs are done."""
    made, shelf = bench(takes=0.1, max_batch=1)
    tickets = [made.admit(model=name, seed=7, steps=4) for name in ("a", "b", "a", "b")]
    run(made)
    assert ends(made) == tickets
    assert shelf.loaded == ["a", "b", "a", "b"]


def test_a_turn_is_not_endless() -> None:
    """However long loading takes and however many jobs of one model come, another's waits for `patience`, and a job."""
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


def test_who_is_more_urgent_does_not_wait_for_a_turn() -> None:
    """A job of higher priority gets the memory when the one that runs is done."""
    made, shelf = bench(takes=60, max_batch=1)
    first, second = (made.admit(model="a", seed=7, steps=2) for _ in range(2))
    while not shelf.holds:
        made.step()
        made.clock.now += 0.1
    urgent = made.admit(model="b", seed=7, steps=2, priority=1)
    run(made)
    assert ends(made) == [first, urgent, second]
    assert shelf.loaded == ["a", "b", "a"]


def test_a_model_that_has_come_is_used_though_others_would_go_first() -> None:
    """A shorter job of another model, which waits for the same memory, does not keep both from being served."""
    made, shelf = bench(takes=2, max_batch=1)
    made.admit(model="a", steps=9, caller="x")
    made.step()
    made.admit(model="b", steps=1, caller="y")
    began = made.clock.now
    run(made)
    assert shelf.loaded == ["a", "b"]
    job = 0.5 + 2  # beside the calls
    assert made.clock.now - began == pytest.approx(2 + job + 9 + 2 + job + 1, abs=0.5)


def test_what_came_for_a_less_urgent_job_makes_room() -> None:
    """It is not used before the urgent one, nor does it keep the memory from it."""
    made, shelf = bench(takes=2, max_batch=1)
    low = made.admit(model="a", steps=3)
    made.step()
    high = made.admit(model="b", steps=3, priority=1)
    began = made.clock.now
    run(made)
    assert ends(made) == [high, low]
    assert shelf.loaded == ["a", "b", "a"]
    assert made.clock.now - began < 3 * 2 + 2 * (0.5 + 3 + 2) + 1


def test_nothing_is_loaded_for_who_has_left() -> None:
    """Who leaves last of those who wait for memory takes its model out of line: the one that is there stays."""
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


def test_what_was_used_is_new_no_longer() -> None:
    """Jobs that come while others of their model run, so that it is never idle, don't keep the memory for ever."""
    made, shelf = bench(takes=2, max_batch=4)
    steps = cycle((3, 7))
    for _ in range(2):
        made.admit(model="a", steps=next(steps))
    while not shelf.holds:
        made.step()
        made.clock.now += 0.1
    made.step(3)
    other = made.admit(model="b", steps=4, caller="somebody else")
    began = made.clock.now
    while not made.of(other, Completed):
        assert made.clock.now - began < 60
        if len(made.engine._queue) < 4:
            made.admit(model="a", steps=next(steps))
        if not made.step():
            made.clock.now += 0.1
    assert shelf.loaded == ["a", "b"]


def test_who_has_climbed_gets_memory_from_jobs_of_higher_priority() -> None:
    """What came for it is used, and not given back to those whose level it has reached: they never end."""
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
def test_whatever_comes_everybody_is_served(
    arrivals: list[tuple[tuple[str, int, int, str], int, bool]], takes: float, max_batch: int
) -> None:
    """Three models for one place, some jobs cancelled: the others have the images of a job alone, nothing is held."""
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


def test_a_turn_lasts_as_long_as_loading_did() -> None:
    """From the moment when the model is there, and at most the longest; what nobody waited for has none."""
    grace = LoadGrace(10)
    grace.note_loaded("ready", 0)
    assert not grace.is_active("ready", 0)
    for now in (0, 1, 4):
        grace.note_loading("a", now)
    grace.note_loaded("a", 5)
    grace.note_loaded("a", 9)
    assert (grace.is_active("a", 9.9), grace.is_active("a", 10)) == (True, False)
    grace.note_loading("b", 0)
    grace.note_loaded("b", 60)
    assert (grace.is_active("b", 69.9), grace.is_active("b", 70)) == (True, False)
