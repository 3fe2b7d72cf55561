"""Random schedules of arrivals, cancellations, deadlines, faults and evicted models, on a manual clock.

In any order of events no row is lost, made twice or starved, and no image depends on the order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.engine.by_hand import images
from tests.support.engine.exact import Bench, ExactModel, broken, spec
from tintype.service.engine.events import Completed, Failed, Finished, Progress
from tintype.service.errors import Cancelled, DeadlineExceeded, GenerationFailed, ModelBroken, OutOfMemory, QueueFull

if TYPE_CHECKING:
    from tintype.service.engine import Ticket

QUEUE = 6
UNITS = 400  # more than any schedule needs for its remaining work

JOB = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["exact", "other"]),
        "prompt": st.sampled_from(["a lake", "a hill"]),
        "steps": st.integers(1, 6),
        "count": st.integers(1, 3),
        "seed": st.integers(0, 2),
        "guidance_scale": st.sampled_from([1.0, 4.0]),
        "sampler": st.sampled_from(["ddim", "euler_ancestral", "dpmpp_2m", "heun"]),
        "priority": st.integers(-1, 1),
        "caller": st.sampled_from("abc"),
        "width": st.sampled_from([64, 96]),
    }
)
PHASE = st.sampled_from(["encode", "denoise", "decode"])

_alone: dict[str, list[np.ndarray]] = {}


def alone(job: dict[str, Any]) -> list[np.ndarray]:
    """Return the images of a job that has the engine to itself."""
    key = repr(sorted((name, value) for name, value in job.items() if name != "deadline"))
    if key not in _alone:
        bench = two_models(max_batch=1)
        ticket = bench.admit(**{name: value for name, value in job.items() if name != "deadline"})
        bench.run()
        _alone[key] = images(bench, ticket)
    return _alone[key]


def two_models(**limits: float) -> Bench:
    other = ExactModel(spec(name="other"))
    return Bench(ExactModel(clock=other.clock), other, **limits)


class Schedule(RuleBasedStateMachine):
    """An engine with two models, and the events that affect it."""

    @initialize(max_batch=st.sampled_from([0, 0, 1, 3]))
    def begin(self, max_batch: int) -> None:
        self.bench = two_models(max_batch=max_batch, queue=QUEUE)
        self.jobs: dict[Ticket, dict[str, Any]] = {}
        self.faults = 0

    @rule(job=JOB, patience=st.none() | st.floats(0.1, 60))
    def admit(self, job: dict[str, Any], patience: float | None) -> None:
        if patience is not None:
            job = {**job, "deadline": self.bench.clock.now + patience}
        try:
            self.jobs[self.bench.admit(**job)] = job
        except DeadlineExceeded:
            assert patience is not None
        except QueueFull as error:
            full = sum(not task.started for task in self.bench.engine._queue) >= QUEUE
            hasty = patience is not None and error.retry_after is not None
            assert full or hasty

    @rule(units=st.integers(1, 6))
    def step(self, units: int) -> None:
        self.bench.step(units)

    @rule(place=st.integers(0, 40))
    def cancel(self, place: int) -> None:
        if place < len(self.jobs):
            self.bench.engine.cancel(list(self.jobs)[place])

    @rule(phase=PHASE, error=st.sampled_from([RuntimeError("once"), MemoryError()]))
    def fail_once(self, phase: str, error: Exception) -> None:
        """Make the next call of a phase fail."""
        self.faults += 1

        def fail(name: str, _rows: int) -> None:
            if name == phase:
                self._calm()
                raise error

        self._on_call(fail)

    @rule(phase=PHASE)
    def cancel_during_a_call(self, phase: str) -> None:
        """Cancel the newest job during a call of a phase."""

        def leave(name: str, _rows: int) -> None:
            if name == phase and self.jobs:
                self._calm()
                self.bench.engine.cancel(list(self.jobs)[-1])

        self._on_call(leave)

    @rule(name=st.sampled_from(["exact", "other"]), there=st.booleans())
    def evict_or_load(self, name: str, there: bool) -> None:  # noqa: FBT001 - a drawn value
        """Evict a model from memory, or load it."""
        (self.bench.shelf.absent.discard if there else self.bench.shelf.absent.add)(name)

    @rule(name=st.sampled_from(["exact", "other"]))
    def fail_to_load_once(self, name: str) -> None:
        """Fail to load a model once, which its waiting tasks get as an error."""
        if name in self.bench.shelf.absent:
            self.bench.shelf.broken[name] = broken(name)
            self.bench.step()
            del self.bench.shelf.broken[name]

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.bench.clock.now += seconds

    @invariant()
    def no_event_follows_the_last(self) -> None:
        for events in self.bench.events.values():
            assert not any(isinstance(event, Completed | Failed) for event in events[:-1])

    def teardown(self) -> None:
        """Run until all tasks have ended, and check the outcome of each job."""
        self._calm()
        self.bench.shelf.absent.clear()
        self.bench.run(UNITS)
        assert not self.bench.engine.busy
        assert self.bench.shelf.holds == []
        for ticket, job in self.jobs.items():
            self._check(ticket, job)

    def _check(self, ticket: Ticket, job: dict[str, Any]) -> None:
        (end,) = self.bench.of(ticket, Completed, Failed)
        made = {event.index: event.pixels for event in self.bench.of(ticket, Finished)}
        assert len(made) == len(self.bench.of(ticket, Finished))
        for index, pixels in made.items():
            assert np.array_equal(pixels, alone(job)[index])
        for index in range(job["count"]):
            steps = [event.step for event in self.bench.of(ticket, Progress) if event.index == index]
            assert steps == list(range(1, len(steps) + 1))
        if isinstance(end, Completed):
            assert sorted(made) == list(range(job["count"]))
        elif isinstance(end.error, GenerationFailed | OutOfMemory):
            assert self.faults
        else:
            assert isinstance(end.error, Cancelled | DeadlineExceeded | ModelBroken)
            assert not isinstance(end.error, DeadlineExceeded) or "deadline" in job

    def _on_call(self, hook: Any) -> None:
        for model in self.bench.shelf.models.values():
            model.on_call = hook

    def _calm(self) -> None:
        self._on_call(lambda _name, _rows: None)


Schedule.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestSchedules = Schedule.TestCase


@pytest.mark.parametrize("max_batch", [0, 1, 4])
@pytest.mark.parametrize("callers", ["", "new", "same"])
@given(steps=st.integers(1, 12), short=st.integers(1, 4))
@example(steps=12, short=2)
@settings(max_examples=8, deadline=None)
def test_no_task_starves(steps: int, short: int, max_batch: int, callers: str) -> None:
    """A long job is done within a bounded number of units while three shorter jobs are always present.

    These come from its own caller, from one other caller, or each from a new one. The bound is its share among four
    callers, twice, since new callers may start before it, plus the two dozen units that find the width.
    """
    bench = Bench(max_batch=max_batch)
    long = bench.admit(steps=steps, seed=1)
    needed = units = steps + 2
    while not bench.of(long, Completed):
        caller = {"": "", "same": "other", "new": str(units)}[callers]
        if len(bench.engine._queue) < 4:
            bench.admit(steps=min(short, steps), seed=2, caller=caller)
        bench.step()
        units += 1
        assert units < 8 * needed + 24
