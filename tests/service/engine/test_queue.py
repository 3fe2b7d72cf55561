"""The door of the engine: room, deadlines, places in the queue and what is said of the time to come."""

from itertools import groupby
from pathlib import Path

import pytest

from tintype.service.engine import Limits
from tintype.service.engine.events import Completed, Failed, Queued
from tintype.service.errors import DeadlineExceeded, InvalidField, QueueFull, Unavailable

from .exact import Bench, Clock, ExactModel, spec


def measured(**limits: float) -> Bench:
    """A bench that has made one picture: encode 0.5 s, a call 1 s, decode 2 s."""
    bench = Bench(**{"max_batch": 1, **limits})
    bench.admit(steps=3)
    bench.run()
    return bench


def places(bench: Bench, ticket: object) -> list[int]:
    return [event.position for event in bench.of(ticket, Queued)]  # type: ignore[arg-type]


def test_as_many_wait_as_may() -> None:
    """The next is refused at once, with the time until a place is free; when it is, the next is taken."""
    bench = measured(queue=2)
    bench.admit(steps=3)
    bench.step()  # it runs, and waits no more
    bench.admit(steps=3)
    bench.admit(steps=3)
    with pytest.raises(QueueFull, match="2 requests wait") as caught:
        bench.admit(steps=3)
    assert caught.value.retry_after == pytest.approx(3 * 1.0 + 2.0)
    bench.clock.now -= caught.value.retry_after  # what it takes is what was said
    before = bench.clock.now
    bench.step(4)
    assert bench.clock.now - before == caught.value.retry_after
    bench.step()
    assert bench.admit(steps=3)


def test_nobody_guesses_a_delay() -> None:
    """Before anything was measured, no time is named."""
    bench = Bench(queue=1, max_batch=1)
    bench.admit()
    bench.step()
    bench.admit()
    with pytest.raises(QueueFull) as caught:
        bench.admit()
    assert caught.value.retry_after is None


def test_a_refused_job_leaves_no_trace() -> None:
    """After a refusal the queue is as before, and the refused job's caller has no share."""
    bench = measured()
    with pytest.raises(DeadlineExceeded):
        bench.admit(steps=3, deadline=bench.clock.now + 1, caller="hasty")
    assert not bench.engine.busy
    assert not bench.step()


def test_a_job_that_could_not_be_taken_in_is_not_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asking for its model raises, as a disk that fails, its deadline passes without harm to others."""
    bench = measured()
    with monkeypatch.context() as patched:
        patched.setattr(bench.shelf, "load", lambda *_, **__: Path("/dev/null/unet").stat())
        with pytest.raises(OSError, match="unet"):
            bench.admit(steps=3, deadline=bench.clock.now + 9)
    bench.clock.now += 10
    ticket = bench.admit(steps=3)
    bench.run()
    assert bench.of(ticket, Completed)
    assert not bench.engine.busy


def test_what_can_never_be_in_time_is_refused_at_once() -> None:
    """With the time that it takes here, measured, and the time that there is."""
    bench = measured()
    with pytest.raises(DeadlineExceeded, match=r"takes about 5.5 s, and the deadline is in 5 s"):
        bench.admit(steps=3, deadline=bench.clock.now + 5)
    ticket = bench.admit(steps=3, deadline=bench.clock.now + 6)
    bench.run()
    assert bench.of(ticket, Completed)


def test_what_once_took_long_keeps_nobody_out_for_ever() -> None:
    """When a machine slept in the midst of a call every job seems late: after a while one is let in, and shows more."""
    bench = measured()
    bench.model.cost["denoise"] = 600.0
    bench.admit(steps=1)
    bench.run()
    bench.model.cost["denoise"] = 1.0
    with pytest.raises(DeadlineExceeded):
        bench.admit(steps=9, deadline=bench.clock.now + 300)
    bench.clock.now += 5 * 60
    for _ in range(3):
        ticket = bench.admit(steps=9, deadline=bench.clock.now + 300)
        bench.run()
        assert bench.of(ticket, Completed)
    with pytest.raises(DeadlineExceeded):
        bench.admit(steps=150, deadline=bench.clock.now + 10)


def test_what_would_be_late_behind_others_may_come_back() -> None:
    """Refused as a matter of the queue, with the delay after which it would be in time."""
    bench = measured()
    bench.admit(steps=3)
    with pytest.raises(QueueFull, match="would be done in about 11 s, and the deadline is in 8 s") as caught:
        bench.admit(steps=3, deadline=bench.clock.now + 8)
    assert caught.value.retry_after == pytest.approx(3)
    bench.step(4)  # 0.5 + 3 * 1 s later
    assert bench.admit(steps=3, deadline=bench.clock.now + 8)


def test_a_short_job_is_not_refused_for_the_long_one_that_it_overtakes() -> None:
    """Only those who really go first count against a deadline."""
    bench = measured()
    bench.admit(steps=50)
    ticket = bench.admit(steps=1, deadline=bench.clock.now + 4)
    bench.run()
    assert bench.of(ticket, Completed)


def test_nobody_is_refused_on_a_guess() -> None:
    """Before anything was measured a deadline is not judged; but one that has passed is."""
    bench = Bench()
    assert bench.admit(deadline=bench.clock.now + 0.001)
    with pytest.raises(DeadlineExceeded):
        bench.admit(deadline=bench.clock.now)


def test_a_job_past_its_deadline_leaves_before_the_next_step() -> None:
    """It is told so, no more work is done for it, and others go on."""
    bench = Bench(max_batch=1)
    late = bench.admit(steps=9, deadline=bench.clock.now + 3)
    other = bench.admit(steps=9, seed=3)
    bench.run()
    (failed,) = bench.of(late, Failed)
    assert isinstance(failed.error, DeadlineExceeded)
    assert "within 3.5 s" in str(failed.error)
    assert len(bench.model.timesteps) == 3 + 9
    assert bench.of(other, Completed)


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
    assert bench.engine._roster.find(first)


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
    assert bench.of(tickets[1], Queued)[-1] == Queued(1, pytest.approx(5.5))


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
    with pytest.raises(QueueFull, match="would be done in about 5"):
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


def test_a_measured_long_job_does_not_keep_its_guessed_price() -> None:
    """Order follows measurements even for jobs that came before the first: a short one still overtakes."""
    bench = Bench(max_batch=1)
    long = bench.admit(steps=50)
    bench.step(4)
    short = bench.admit(steps=4)
    bench.run()
    done = [ticket for ticket, event in bench.log if isinstance(event, Completed)]
    assert done == [short, long]


def test_draining_refuses_new_jobs_and_ends_the_old() -> None:
    """Those that were taken in are made."""
    bench = Bench()
    ticket = bench.admit()
    bench.engine.drain()
    with pytest.raises(Unavailable, match="shutting down"):
        bench.admit()
    bench.run()
    assert bench.of(ticket, Completed)


@pytest.mark.parametrize("wrong", [{"queue": 0}, {"max_batch": -1}, {"patience": 0}])
def test_limits_are_checked(wrong: dict[str, int]) -> None:
    """A limit that can't be meant is refused, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)


def test_a_wrong_field_is_told_before_the_queue_is_full() -> None:
    """Who made a mistake is not sent away to make it again later."""
    bench = Bench(queue=1)
    bench.admit()
    with pytest.raises(InvalidField):
        bench.admit(sampler="nothing")


def test_a_caller_pays_exactly_for_what_was_done() -> None:
    """Encoding, every call, decoding, each at its price: so a job's tag stands still while it runs."""
    bench = measured()
    bench.admit(steps=3, count=2, caller="a")
    bench.admit(steps=50, caller="a")
    price = bench.engine._stats.price(next(iter(bench.engine._queue)).plan)
    bench.step(1 + 2 * (3 + 1))
    assert (price.encode, price.call, price.decode) == (500_000, 1_000_000, 2_000_000)
    assert bench.engine._queue._shares["a"] == price.encode + 2 * (3 * price.call + price.decode)


def test_a_flood_does_not_hold_up_another_caller() -> None:
    """Somebody with one longer job is served between the many short ones of somebody else."""
    bench = measured(queue=30)
    flood = [bench.admit(steps=1, caller="flood", seed=n) for n in range(20)]
    late = bench.admit(steps=6, caller="late")
    bench.run()
    done = [ticket for ticket, event in bench.log if isinstance(event, Completed)]
    assert 1 <= done.index(late) - done.index(flood[0]) <= 4
