"""Reported queue positions and estimated waits."""

from itertools import groupby
from typing import cast

import pytest

from tests.support.engine.exact import Bench, Clock, ExactModel, measured, spec
from tintype.service.engine.events import Completed, Failed, Finished, Preview, Progress, Queued
from tintype.service.errors import QueueFull
from tintype.service.job import Previews


def positions(bench: Bench, ticket: object) -> list[int]:
    return [event.position for event in bench.of(ticket, Queued)]  # type: ignore[arg-type]


def test_positions_are_reported_when_they_change() -> None:
    """The number of tasks that run first, once per change, until the task starts."""
    bench = Bench(max_batch=1)
    tickets = [bench.admit(steps=2, seed=n) for n in range(3)]
    assert [positions(bench, t) for t in tickets] == [[0], [1], [2]]
    bench.run()
    assert [[position for position, _ in groupby(positions(bench, t))] for t in tickets] == [[0], [1], [2, 1]]


def test_a_job_without_progress_has_all_other_events() -> None:
    """Other jobs of its batch have theirs."""
    bench = Bench(max_batch=2)
    silent = bench.admit(steps=4, previews=Previews(every=1), progress=False)
    other = bench.admit(steps=4)
    bench.run()
    assert [len(bench.of(silent, kind)) for kind in (Progress, Preview, Finished, Completed)] == [0, 3, 1, 1]
    assert len(bench.of(other, Progress)) == 4


def test_a_job_that_overtakes_moves_the_others_back() -> None:
    """A job of higher priority moves those behind it, which is reported before the next step."""
    bench = Bench(max_batch=1)
    bench.admit(steps=5)
    bench.step(2)
    waiting = bench.admit(steps=5)
    bench.admit(steps=5, priority=1)
    bench.step()
    assert positions(bench, waiting) == [1, 2]


def test_admission_reports_to_the_new_task_only() -> None:
    """Admission reports one position, however many tasks wait: a burst must not delay other events."""
    bench = Bench(queue=200, max_batch=1)
    for n in range(100):
        bench.admit(steps=5, seed=n)
    bench.step()
    reported = len(bench.log)
    bench.admit(steps=5, priority=1)
    assert len(bench.log) == reported + 1
    bench.step()
    assert len([event for _, event in bench.log[reported + 1 :] if isinstance(event, Queued)]) == 99


def test_a_cancelled_job_moves_the_others_up() -> None:
    """Positions count live tasks only."""
    bench = Bench(max_batch=1)
    first, second, third = (bench.admit(steps=5, seed=n) for n in range(3))
    bench.engine.cancel(second)
    bench.step()
    assert positions(bench, third) == [2, 1]
    assert bench.events[second][-1] == bench.of(second, Failed)[0]
    assert bench.engine._live_tasks.find(first)


def test_the_estimated_wait_is_correct() -> None:
    """The second task starts when its estimate says."""
    bench = measured()
    bench.admit(steps=4)
    ticket = bench.admit(steps=4)
    (queued,) = bench.of(ticket, Queued)
    assert queued.eta == pytest.approx(0.5 + 4 + 2)


def test_the_wait_is_reported_again_as_it_falls() -> None:
    """A task at a constant position behind a long one gets new estimates, each of them correct."""
    bench = measured()
    long = bench.admit(steps=40)
    bench.step(4)
    ticket = bench.admit(steps=60)
    reported = [(bench.clock.now, queued.position, queued.eta) for queued in bench.of(ticket, Queued)]
    while not bench.of(long, Completed):
        now = bench.clock.now  # a step begins with the report of positions
        bench.step()
        reported += [(now, queued.position, queued.eta) for queued in bench.of(ticket, Queued)[len(reported) :]]
    assert {position for _, position, _ in reported} == {1}
    assert 10 <= len(reported) <= 30  # each a tenth below the last
    assert [now + (eta or 0) for now, _, eta in reported] == pytest.approx([bench.clock.now] * len(reported))


def test_load_times_are_not_estimated() -> None:
    """A task that waits for a model, or behind one that does, gets a position without an estimate."""
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


def test_a_task_that_waits_for_memory_is_behind_those_that_hold_it() -> None:
    """Holders run first, so they count in its position and against deadlines."""
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
    assert [positions(bench, ticket)[-1] for ticket in (short, behind)] == [1, 2]
    with pytest.raises(QueueFull, match="would finish in about 5"):
        bench.admit(steps=1, caller="hasty", deadline=bench.clock.now + 20)
    bench.shelf.absent.clear()
    bench.shelf.waiting.clear()
    bench.run()
    done = [ticket for ticket, event in bench.log if isinstance(event, Completed)][-3:]
    assert done.index(short) < done.index(behind), "once its model is loaded, it goes first again"


def test_estimates_follow_measurements() -> None:
    """When the machine gets slower, estimates grow."""
    bench = measured()
    bench.model.cost["denoise"] = 10.0
    bench.admit(steps=20)
    bench.run()
    bench.admit(steps=1)
    ticket = bench.admit(steps=2)
    assert bench.of(ticket, Queued)[0].eta == pytest.approx(10 + 0.5 + 2, rel=0.1)


def test_a_new_position_is_reported_before_the_next_unit() -> None:
    """However short units are, and though waits are checked only at intervals."""
    bench = measured()
    bench.model.cost = dict.fromkeys(bench.model.cost, 0.0)
    _, second, third = (bench.admit(steps=9) for _ in range(3))
    bench.step()
    bench.engine.cancel(second)
    bench.step()
    assert positions(bench, third) == [2, 1]
