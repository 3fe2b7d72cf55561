"""When a task was in each stage, and what an observer learns of it."""

from __future__ import annotations

from typing import Any

from tests.support.engine.exact import Bench
from tintype.service.engine.events import Completed, Failed, Stage
from tintype.service.metrics.measurements import Measurements


def stages(bench: Bench, ticket: Any) -> list[Stage]:
    """Return the stages of a task, with times since the bench's start."""
    (last,) = bench.of(ticket, Completed, Failed)
    return [Stage(name, began - 1000, ended - 1000, busy) for name, began, ended, busy in last.stages]


def observed(bench: Bench) -> Measurements:
    """Return the measurements of a bench from now on."""
    found = Measurements(bench.clock)
    bench.engine._observer = bench.engine._live_tasks._observer = found
    return found


def values(found: Measurements) -> dict[tuple[str, ...], float]:
    return {(sample.metric, *sample.labels): sample.value for sample in found.samples()}


def test_stages_follow_each_other() -> None:
    """A task waits, is encoded, denoised and decoded; encode takes 0.5 s, a denoiser call 1 s, decode 2 s."""
    bench = Bench(max_batch=1)
    ticket = bench.admit(steps=3)
    bench.clock.now += 4
    bench.run()
    assert stages(bench, ticket) == [
        Stage("queue", 0, 4, 4),
        Stage("encode", 4, 4.5, 0.5),
        Stage("denoise", 4.5, 7.5, 3),
        Stage("decode", 7.5, 9.5, 2),
    ]


def test_a_shared_device_is_not_counted_as_busy() -> None:
    """Two tasks that alternate are in their stages for longer than the device works on them."""
    bench = Bench(max_batch=1)
    first = bench.admit(steps=2, caller="a")
    bench.step(2)
    second = bench.admit(steps=4, caller="b", priority=1)
    bench.run()
    denoise = {stage.name: stage for stage in stages(bench, first)}["denoise"]
    assert denoise.busy == 2
    assert denoise.ended - denoise.began > 4
    assert {stage.name: stage.busy for stage in stages(bench, second)}["denoise"] == 4


def test_loading_is_a_stage() -> None:
    """A task that waits for its model has the time of loading as a stage, inside its time in the queue."""
    bench = Bench()
    bench.shelf.absent.add("exact")
    ticket = bench.admit(steps=1)
    for _ in range(3):
        assert not bench.step()
        bench.clock.now += 2
    bench.shelf.absent.clear()
    bench.run()
    queue, load = stages(bench, ticket)[:2]
    assert (queue.name, queue.ended) == ("queue", 6)
    assert (load.name, load.began, load.ended) == ("load", 0, 6)


def test_a_failure_has_the_stages_before_it() -> None:
    """The last event of a failed task says where the time went."""
    bench = Bench()
    ticket = bench.admit(steps=5)
    bench.step(3)
    bench.engine.cancel(ticket)
    bench.collect()
    assert [stage.name for stage in stages(bench, ticket)] == ["queue", "encode", "denoise"]


def test_an_observer_learns_of_units_and_ends() -> None:
    """Waits, steps with their rows, images and ends are reported as they happen."""
    bench = Bench(max_batch=2)
    found = observed(bench)
    done = bench.admit(steps=3, count=2, guidance_scale=1.0)
    bench.clock.now += 4
    bench.run()
    cancelled = bench.admit(steps=3)
    bench.engine.cancel(cancelled)
    seen = values(found)
    assert bench.of(done, Completed)
    assert (seen["queue_seconds", "exact"], seen["images", "exact"]) == (4, 2)
    assert seen["step_seconds", "exact", "2"] == seen["busy_seconds", "denoise"] == 3
    assert seen["step_images", "exact"] == 6
    assert (seen["busy_seconds", "encode"], seen["busy_seconds", "decode"]) == (0.5, 4)
    assert seen["tasks", "exact", "completed"] == seen["tasks", "exact", "CANCELLED"] == 1
    assert seen["cancellations", "exact"] == 1


def test_tasks_are_counted() -> None:
    """Waiting tasks and those that have started are counted apart."""
    bench = Bench(max_batch=1)
    for number in range(3):
        bench.admit(steps=2, seed=number)
    assert bench.engine.count_tasks() == (3, 0)
    bench.step()
    assert bench.engine.count_tasks() == (2, 1)
    bench.run()
    assert bench.engine.count_tasks() == (0, 0)
