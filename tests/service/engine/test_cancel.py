"""Cancellation at any time, without effect on other tasks."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.engine.by_hand import by_hand
from tests.support.engine.exact import Bench, ExactModel
from tintype.service.engine import Ticket
from tintype.service.engine.events import Completed, Failed, Finished, Progress
from tintype.service.errors import Cancelled, QueueFull


def images(bench: Bench, ticket: Ticket) -> list[np.ndarray]:
    return [event.pixels for event in sorted(bench.of(ticket, Finished), key=lambda event: event.index)]


@pytest.mark.parametrize("after", range(11))
@pytest.mark.parametrize("max_batch", [1, 4])
def test_a_task_can_be_cancelled_after_any_unit(after: int, max_batch: int) -> None:
    """Queued, encoded, denoised or decoded: it is in no further unit, and the other task's image is the same."""
    bench = Bench(max_batch=max_batch)
    leaving = bench.admit("a lake", steps=3, seed=1, priority=1)
    staying = bench.admit("a hill", steps=3, seed=2)
    bench.step(after)
    ended = bench.of(leaving, Completed, Failed)
    bench.engine.cancel(leaving)
    reported = len(bench.events[leaving])
    bench.run()
    if not ended:
        assert isinstance(bench.error(leaving), Cancelled)
        assert len(bench.events[leaving]) == reported + 1
    alone = Bench(max_batch=1)
    only = alone.admit("a hill", steps=3, seed=2)
    alone.run()
    assert np.array_equal(images(bench, staying)[0], images(alone, only)[0])
    assert bench.shelf.holds == []


@pytest.mark.parametrize("phase", ["encode", "denoise", "decode"])
def test_a_task_can_be_cancelled_during_a_unit(phase: str) -> None:
    """Cancelled by another thread during its unit: the result is dropped."""
    bench = Bench(max_batch=4)
    leaving = bench.admit("a lake", steps=3, seed=1)
    staying = bench.admit("a lake", steps=3, seed=2)

    def cancel(name: str, _rows: int) -> None:
        if name == phase:
            bench.engine.cancel(leaving)

    bench.model.on_call = cancel
    bench.run()
    assert isinstance(bench.error(leaving), Cancelled)
    assert not bench.of(leaving, Finished)
    assert bench.of(staying, Completed)
    assert len(bench.of(staying, Progress)) == 3


@pytest.mark.parametrize("phase", ["encode", "denoise", "decode"])
@pytest.mark.parametrize("others", [0, 1])
def test_a_call_is_stopped_when_all_its_tasks_are_cancelled(phase: str, others: int) -> None:
    """The model is stopped once all tasks of the call are cancelled, never before, and serves later tasks."""
    bench = Bench(max_batch=4)
    leaving = bench.admit(steps=3, seed=1, priority=1)
    staying = [bench.admit(steps=3, seed=2) for _ in range(others)]
    shared = others == 1 and phase == "denoise"

    def cancel(name: str, _rows: int) -> None:
        if name == phase:
            bench.engine.cancel(leaving)
            assert bench.model.stopped is not shared
            bench.model.on_call = lambda _name, _rows: None

    bench.model.on_call = cancel
    bench.run()
    assert isinstance(bench.of(leaving, Failed)[0].error, Cancelled)
    assert bench.model.stops == (not shared)
    late = bench.admit(steps=3, seed=2)
    bench.run()
    for ticket in (*staying, late):
        assert np.array_equal(images(bench, ticket)[0], by_hand("a lake", 2, steps=3))


def test_a_shutdown_stops_the_running_call() -> None:
    """All tasks end at once, and the model does not finish its call."""
    bench = Bench(max_batch=4)
    bench.admit(steps=3)
    bench.model.on_call = lambda _name, _rows: bench.engine.fail_all(Cancelled("the end"))
    bench.run()
    assert bench.model.stops == 1


def test_a_cancelled_task_makes_no_more_model_calls() -> None:
    """After the last task is cancelled, the model is not called again."""
    bench = Bench()
    ticket = bench.admit(steps=50, count=4)
    bench.step(3)
    calls = len(bench.model.calls)
    bench.engine.cancel(ticket)
    assert not bench.step()
    assert len(bench.model.calls) == calls


def test_cancelling_twice_or_late_is_harmless() -> None:
    """Cancelling an ended task does nothing."""
    bench = Bench()
    ticket = bench.admit(steps=2)
    bench.run()
    reported = list(bench.events[ticket])
    bench.engine.cancel(ticket)
    bench.engine.cancel(ticket)
    bench.step()
    assert bench.events[ticket] == reported


def test_a_cancelled_task_holds_nothing() -> None:
    """Arrays and model are released by the next step, even while a ticket is referenced."""
    bench = Bench()
    ticket = bench.admit(steps=9)
    bench.step(4)
    task = bench.task(ticket)
    bench.engine.cancel(ticket)
    bench.step()
    assert task.model is None
    assert task.rows[0]._trajectory is None
    assert task.conditionings == ()


action = st.one_of(
    st.tuples(
        st.just("admit"),
        st.fixed_dictionaries(
            {
                "prompt": st.sampled_from(["a lake", "a hill"]),
                "steps": st.integers(1, 5),
                "count": st.integers(1, 3),
                "seed": st.integers(0, 3),
                "guidance_scale": st.sampled_from([1.0, 4.0]),
                "sampler": st.sampled_from(["ddim", "euler", "dpmpp_2m", "euler_ancestral"]),
                "priority": st.integers(-1, 1),
                "caller": st.sampled_from("abc"),
                "width": st.sampled_from([64, 96]),
            }
        ),
    ),
    st.tuples(st.just("step"), st.integers(1, 4)),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("fail"), st.just(0)),
)

_alone: dict[str, list[np.ndarray]] = {}


def alone(job: dict[str, Any]) -> list[np.ndarray]:
    """Return the images of a job that has the engine to itself."""
    key = repr(sorted(job.items()))
    if key not in _alone:
        bench = Bench(max_batch=1)
        ticket = bench.admit(**job)
        bench.run()
        _alone[key] = images(bench, ticket)
    return _alone[key]


def fail_once(model: ExactModel) -> None:
    """Make the next denoiser call fail."""

    def fail(name: str, _rows: int) -> None:
        if name == "denoise":
            model.on_call = lambda _name, _rows: None
            raise RuntimeError("once")

    model.on_call = fail


@given(st.lists(action, max_size=25), st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_every_task_ends_once_and_no_work_is_repeated(actions: list[tuple[str, Any]], max_batch: int) -> None:
    """In any order of arrivals, cancellations and faults, every job ends once.

    Each step and image is reported once and in order, and each image is bit-identical to that of the job alone.
    """
    bench = Bench(max_batch=max_batch, queue=5)
    jobs: dict[Ticket, dict[str, Any]] = {}
    for name, value in actions:
        if name == "admit":
            try:
                jobs[bench.admit(**value)] = value
            except QueueFull:
                assert sum(not task.started for task in bench.engine._queue) == 5
        elif name == "step":
            bench.step(value)
        elif name == "cancel" and value < len(jobs):
            bench.engine.cancel(list(jobs)[value])
        elif name == "fail":
            fail_once(bench.model)
    bench.run()
    assert not bench.engine.busy
    assert bench.shelf.holds == []
    for ticket, job in jobs.items():
        _check(bench, ticket, job)


def _check(bench: Bench, ticket: Ticket, job: dict[str, Any]) -> None:
    assert len(bench.of(ticket, Completed, Failed)) == 1
    assert isinstance(bench.events[ticket][-1], Completed | Failed)
    made = {event.index: event.pixels for event in bench.of(ticket, Finished)}
    assert len(made) == len(bench.of(ticket, Finished))
    for index, pixels in made.items():
        assert np.array_equal(pixels, alone(job)[index])
    if bench.of(ticket, Completed):
        assert sorted(made) == list(range(job["count"]))
        for index in made:
            steps = [event.step for event in bench.of(ticket, Progress) if event.index == index]
            assert steps == list(range(1, job["steps"] + 1))
