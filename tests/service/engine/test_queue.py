"""Admission: capacity, deadlines and order."""

from pathlib import Path

import pytest

from tests.support.engine.exact import Bench, measured
from tintype.service.engine import Limits
from tintype.service.engine.events import Completed, Failed
from tintype.service.errors import DeadlineExceeded, InvalidField, QueueFull, Unavailable


def test_the_queue_is_bounded() -> None:
    """The next job is refused with the time until a place is free; after that time one is accepted."""
    bench = measured(queue=2)
    bench.admit(steps=3)
    bench.step()  # it runs and does not wait
    bench.admit(steps=3)
    bench.admit(steps=3)
    with pytest.raises(QueueFull, match="queue full: 2 requests are waiting") as caught:
        bench.admit(steps=3)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after == pytest.approx(3 * 1.0 + 2.0)
    bench.clock.now -= caught.value.retry_after  # the reported delay is the time it takes
    before = bench.clock.now
    bench.step(4)
    assert bench.clock.now - before == caught.value.retry_after
    bench.step()
    assert bench.admit(steps=3)


def test_without_measurements_a_refusal_has_no_delay() -> None:
    """Without measurements `retry_after` is None."""
    bench = Bench(queue=1, max_batch=1)
    bench.admit()
    bench.step()
    bench.admit()
    with pytest.raises(QueueFull) as caught:
        bench.admit()
    assert caught.value.retry_after is None


def test_a_refused_job_leaves_no_trace() -> None:
    """After a refusal the queue is unchanged."""
    bench = measured()
    with pytest.raises(DeadlineExceeded):
        bench.admit(steps=3, deadline=bench.clock.now + 1, caller="hasty")
    assert not bench.engine.busy
    assert not bench.step()


def test_a_job_that_cannot_be_admitted_is_not_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """If requesting the model raises, as on a disk error, its deadline passes without effect on others."""
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


def test_an_impossible_deadline_is_refused_at_once() -> None:
    """The error names the needed and the available time."""
    bench = measured()
    with pytest.raises(DeadlineExceeded, match=r"needs about 5.5 s, but the deadline is in 5 s"):
        bench.admit(steps=3, deadline=bench.clock.now + 5)
    ticket = bench.admit(steps=3, deadline=bench.clock.now + 6)
    bench.run()
    assert bench.of(ticket, Completed)


def test_an_old_slow_measurement_does_not_refuse_forever() -> None:
    """After one call across a suspend every job seems late; later one is admitted and corrects the estimate."""
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


def test_a_deadline_missed_by_the_queue_may_be_retried() -> None:
    """The refusal carries the delay after which the deadline can be met."""
    bench = measured()
    bench.admit(steps=3)
    with pytest.raises(QueueFull, match="would finish in about 11 s, but the deadline is in 8 s") as caught:
        bench.admit(steps=3, deadline=bench.clock.now + 8)
    assert caught.value.retry_after == pytest.approx(3)
    bench.step(4)  # 0.5 + 3 * 1 s later
    assert bench.admit(steps=3, deadline=bench.clock.now + 8)


def test_a_short_job_is_not_refused_for_the_long_one_that_it_overtakes() -> None:
    """Only tasks that run first count against a deadline."""
    bench = measured()
    bench.admit(steps=50)
    ticket = bench.admit(steps=1, deadline=bench.clock.now + 4)
    bench.run()
    assert bench.of(ticket, Completed)


def test_no_job_is_refused_without_a_measurement() -> None:
    """Before a measurement only a passed deadline is refused."""
    bench = Bench()
    assert bench.admit(deadline=bench.clock.now + 0.001)
    with pytest.raises(DeadlineExceeded):
        bench.admit(deadline=bench.clock.now)


def test_a_task_past_its_deadline_fails_before_the_next_step() -> None:
    """It ends with an error, no more work is done for it, and others continue."""
    bench = Bench(max_batch=1)
    late = bench.admit(steps=9, deadline=bench.clock.now + 3)
    other = bench.admit(steps=9, seed=3)
    bench.run()
    (failed,) = bench.of(late, Failed)
    assert isinstance(failed.error, DeadlineExceeded)
    assert "within 3.5 s" in str(failed.error)
    assert len(bench.model.timesteps) == 3 + 9
    assert bench.of(other, Completed)


def test_a_measured_long_job_does_not_keep_its_guessed_cost() -> None:
    """Measurements also reorder tasks that arrived before them: a short one still overtakes."""
    bench = Bench(max_batch=1)
    long = bench.admit(steps=50)
    bench.step(4)
    short = bench.admit(steps=4)
    bench.run()
    done = [ticket for ticket, event in bench.log if isinstance(event, Completed)]
    assert done == [short, long]


def test_draining_refuses_new_jobs_and_finishes_the_old() -> None:
    """Accepted jobs complete."""
    bench = Bench()
    ticket = bench.admit()
    bench.engine.drain()
    with pytest.raises(Unavailable, match="shutting down"):
        bench.admit()
    bench.run()
    assert bench.of(ticket, Completed)


@pytest.mark.parametrize("wrong", [{"queue": 0}, {"max_batch": -1}, {"patience": 0}])
def test_limits_are_checked(wrong: dict[str, int]) -> None:
    """An impossible limit is refused by name."""
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", "-")):
        Limits(**wrong)


def test_an_invalid_field_is_reported_before_a_full_queue() -> None:
    """An invalid request is not told to retry later."""
    bench = Bench(queue=1)
    bench.admit()
    with pytest.raises(InvalidField):
        bench.admit(sampler="nothing")


def test_a_caller_is_charged_exactly_for_the_work_done() -> None:
    """Encoding, every call and decoding are charged at their cost, so tags are constant while a task runs."""
    bench = measured()
    bench.admit(steps=3, count=2, caller="a")
    bench.admit(steps=50, caller="a")
    cost = bench.engine._estimates.cost(next(iter(bench.engine._queue)).plan)
    bench.step(1 + 2 * (3 + 1))
    assert (cost.encode, cost.call, cost.decode) == (500_000, 1_000_000, 2_000_000)
    assert bench.engine._queue._fair_queue["a"] == cost.encode + 2 * (3 * cost.call + cost.decode)


def test_a_flood_does_not_hold_up_another_caller() -> None:
    """A longer job is served between many short ones of another caller."""
    bench = measured(queue=30)
    flood = [bench.admit(steps=1, caller="flood", seed=n) for n in range(20)]
    late = bench.admit(steps=6, caller="late")
    bench.run()
    done = [ticket for ticket, event in bench.log if isinstance(event, Completed)]
    assert 1 <= done.index(late) - done.index(flood[0]) <= 4
