"""Measurements: what is counted, and with which labels."""

from __future__ import annotations

from tintype.service.metrics.definitions import METRICS, WIDTHS, Sample
from tintype.service.metrics.forwarding import dump, load
from tintype.service.metrics.measurements import Distribution, Measurements, resident_memory, width_label
from tintype.v1.reasons import Reason


def test_values_go_into_the_bucket_that_holds_them() -> None:
    """A value equal to a bound belongs to its bucket, and a larger one than all bounds to the last bucket."""
    found = Distribution((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        found.add(value)
    assert found.counts == [2, 2, 1]
    assert found.sum == 7.5


def test_widths_have_few_labels() -> None:
    """The label of a width is the next power of two; all large widths share one."""
    assert [width_label(width) for width in (1, 2, 3, 5, 64, 65, 1000)] == ["1", "2", "4", "8", "64", "64+", "64+"]
    assert len({width_label(width) for width in range(1, 2000)}) == len(WIDTHS) + 1


def test_work_is_counted() -> None:
    """Steps are timed by model and width, images and tasks are counted, and the stages add up to the busy time."""
    seen = Measurements()
    seen.started("a", 0.5)
    seen.encoded("a", 0.25)
    seen.denoised("a", images=3, width=6, seconds=0.02)
    seen.decoded("a", 1.0)
    seen.ended("a")
    seen.ended("a", Reason.CANCELLED)
    found = {(sample.metric, sample.labels): sample for sample in seen.samples()}
    assert found["images", ("a",)].value == 1
    assert found["tasks", ("a", "completed")].value == found["tasks", ("a", "CANCELLED")].value == 1
    assert found["cancellations", ("a",)].value == 1
    assert sum(sample.value for sample in seen.samples() if sample.metric == "busy_seconds") == 1.27
    assert found["queue_seconds", ("a",)].value == 0.5
    step = found["step_seconds", ("a", "8")]
    assert (step.value, sum(step.counts), len(step.counts)) == (0.02, 1, len(METRICS["step_seconds"].buckets) + 1)
    assert found["step_images", ("a",)].counts[WIDTHS.index(4)] == 1


def test_loads_are_timed() -> None:
    """A load that succeeds is timed; failed and cancelled ones are only counted."""
    now = [10.0]
    seen = Measurements(lambda: now[0])
    for outcome in ("loaded", "failed", "cancelled"):
        seen.loading("a")
        now[0] += 3
        seen.loaded("a", outcome)
    found = {(sample.metric, sample.labels): sample for sample in seen.samples()}
    assert {labels[1] for metric, labels in found if metric == "model_loads"} == {"loaded", "failed", "cancelled"}
    assert (found["model_load_seconds", ("a",)].value, sum(found["model_load_seconds", ("a",)].counts)) == (3, 1)


def test_samples_reach_the_front() -> None:
    """Samples survive the way to the front, which leaves out metrics of a newer version."""
    seen = Measurements()
    seen.denoised("a", images=1, width=2, seconds=0.5)
    seen.ended("a", Reason.OUT_OF_MEMORY)
    assert load(dump(seen.samples())) == seen.samples()
    assert load(dump([Sample("newer", (), 1)])) == []


def test_memory_of_this_process() -> None:
    """The memory of a Python process is some megabytes."""
    assert resident_memory() > 2**20
