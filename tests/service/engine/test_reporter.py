"""What those who wait are told: their place, and how long it will be."""

from itertools import groupby
from typing import cast

import pytest

from tests.support.engine.exact import Bench, Clock, ExactModel, measured, spec
from tintype.service.engine.events import Completed, Failed, Queued
from tintype.service.errors import QueueFull


def places(bench: Bench, ticket: object) -> list[int]:
    return [event.position for event in bench.of(ticket, Queued)]  # type: ignore[arg-type]


def test_places_are_told_when_they_change() -> None:
    """While it waits: the number of jobs that go first, once for each change; then its steps tell."""
    bench = Bench(max_batch=1)
    tickets = [bench.admit(steps=2, seed=n) for n in range(3)]
    assert [places(bench, t) for t in tickets] == [[0], [1], [2]]
    bench.run()
    assert [[place for place, _ in groupby(places(bench, t))] for t in tickets] == [[0], [1], [2, 1]]


def test_a_job_that_overtakes_moves_the_others_back() -> None:
    """Places are true: a job of higher priority goes in front, and who is behind hears of it before the next step."""
    bench = Bench(max_batch=1)
    bench.admit(steps=5)
    bench.step(2)
    waiting = bench.admit(steps=5)
    bench.admit(steps=5, priority=1)
    bench.step()
    assert places(bench, waiting) == [1, 2]


def test_who_comes_costs_those_who_wait_nothing() -> None:
    """At the door one alone is told, however many stand behind: a burst must not hold up everybody's events."""
    bench = Bench(queue=200, max_batch=1)
    for n in range(100):
        bench.admit(steps=5, seed=n)
    bench.step()
    told = len(bench.log)
    bench.admit(steps=5, priority=1)
    assert len(bench.log) == told + 1
    bench.step()
    assert len([event for _, event in bench.log[told + 1 :] if isinstance(event, Queued)]) == 99


def test_a_cancelled_job_moves_the_others_up() -> None:
    """Places count living jobs only."""
    bench = Bench(max_batch=1)
    first, second, third = (bench.admit(steps=5, seed=n) for n in range(3))
    bench.engine.cancel(second)
    bench.step()
    assert places(bench, third) == [2, 1]
    assert bench.told[second][-1] == bench.of(second, Failed)[0]
    assert bench.engine._live_tasks.find(first)


def test_the_wait_is_estimated_and_true() -> None:
    """The second in line starts when it was told that it would."""
    bench = measured()
    bench.admit(steps=4)
    ticket = bench.admit(steps=4)
    (queued,) = bench.of(ticket, Queued)
    assert queued.eta == pytest.approx(0.5 + 4 + 2)


def test_the_wait_is_told_again_as_it_falls() -> None:
    """Who stands behind a long job at one and the same place hears that time passes, and each answer is true."""
    bench = measured()
    long = bench.admit(steps=40)
    bench.step(4)
    ticket = bench.admit(steps=60)
    told = [(bench.clock.now, queued.position, queued.eta) for queued in bench.of(ticket, Queued)]
    while not bench.of(long, Completed):
        now = bench.clock.now  # a turn begins with what is told of places
        bench.step()
        told += [(now, queued.position, queued.eta) for queued in bench.of(ticket, Queued)[len(told) :]]
    assert {place for _, place, _ in told} == {1}
    assert 10 <= len(told) <= 30  # each a tenth less than the one before it
    assert [now + (eta or 0) for now, _, eta in told] == pytest.approx([bench.clock.now] * len(told))


def test_nobody_guesses_how_long_loading_takes() -> None:
    """Who waits for a model to load, and who stands behind, are told a place and no time; nor is who is refused."""
    bench = measured(queue=2)
    bench.shelf.absent.add("exact")
    tickets = [bench.admit(steps=3, seed=n) for n in range(2)]
    bench.step()
    assert [bench.of(ticket, Queued)[-1] for ticket in tickets] == [Queued(0, None), Queued(1, None)]
    with pytest.raises(QueueFull) as caught:
        bench.admit()
    assert caught.value.retry_after is None
    bench.shelf.absent.clear()
    bench.step()
    assert bench.of(tickets[1], Queued)[-1] == Queued(1, cast("float", pytest.approx(5.5)))


def test_who_waits_for_the_memory_of_others_stands_behind_them() -> None:
    """Those who hold it go on whoever comes, so they count among those before; and so it is with a deadline."""
    model = ExactModel(clock=Clock())
    other = ExactModel(spec=spec(name="other"), clock=model.clock)
    bench = Bench(model, other, max_batch=1)
    for name in ("exact", "other"):
        bench.admit(steps=3, model=name)
    bench.run()
    bench.admit(steps=50, caller="long")
    bench.step(3)
    bench.shelf.absent.add("other")
    bench.shelf.waiting.add("other")
    short = bench.admit(steps=1, model="other", caller="short")
    behind = bench.admit(steps=1, caller="late")
    bench.step()
    assert [places(bench, ticket)[-1] for ticket in (short, behind)] == [1, 2]
    with pytest.raises(QueueFull, match="would finish in about 5"):
        bench.admit(steps=1, caller="hasty", deadline=bench.clock.now + 20)
    bench.shelf.absent.clear()
    bench.shelf.waiting.clear()
    bench.run()
    done = [ticket for ticket, event in bench.log if isinstance(event, Completed)][-3:]
    assert done.index(short) < done.index(behind), "places are of now: once it is there, it goes first again"


def test_estimates_follow_what_is_measured() -> None:
    """When the machine gets slower, so do the answers."""
    bench = measured()
    bench.model.cost["denoise"] = 10.0
    bench.admit(steps=20)
    bench.run()
    bench.admit(steps=1)
    ticket = bench.admit(steps=2)
    assert bench.of(ticket, Queued)[0].eta == pytest.approx(10 + 0.5 + 2, rel=0.1)


def test_who_moves_up_hears_of_it_before_the_next_unit() -> None:
    """However short the units are, and though how long a wait is is looked at but now and then."""
    bench = measured()
    bench.model.cost = dict.fromkeys(bench.model.cost, 0.0)
    _, second, third = (bench.admit(steps=9) for _ in range(3))
    bench.step()
    bench.engine.cancel(second)
    bench.step()
    assert places(bench, third) == [2, 1]
