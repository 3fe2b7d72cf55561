"""The state of a device: queue, models, memory; and loads and evictions as slots report them."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from tintype.service.config import ServiceConfig
from tintype.service.metrics.device_state import state_samples
from tintype.service.metrics.measurements import Measurements
from tintype.service.models.residency.slot import TRANSITIONS, Changes, ModelState, ModelStatus
from tintype.service.models.runtime import nvidia


class TwoModels:
    """A repository with a resident model and one on disk."""

    components = SimpleNamespace(limit=100, used=60)

    def __init__(self, provider: str) -> None:
        resident = ModelStatus(ModelState.RESIDENT, 1.0, provider=provider)
        self._statuses = {"a": resident, "b": ModelStatus(ModelState.UNLOADED)}

    def names(self) -> list[str]:
        return list(self._statuses)

    def status(self, name: str) -> ModelStatus:
        return self._statuses[name]


class BusyDevice:
    """A device with three waiting tasks and two that have started."""

    def count_tasks(self) -> tuple[int, int]:
        return 3, 2


def state(provider: str) -> dict[tuple[str, ...], float]:
    repository, device = TwoModels(provider), BusyDevice()
    served: tuple[Any, Any] = repository, device
    samples = state_samples(ServiceConfig(queue=7), *served)
    return {(sample.metric, *sample.labels): sample.value for sample in samples}


def test_queue_models_and_memory() -> None:
    """Waiting and running tasks, models in memory, the budget and the weights in it are reported."""
    found = state("cpu")
    assert (found["queue_tasks",], found["running_tasks",], found["queue_capacity",]) == (3, 2, 7)
    assert (found["model_loaded", "a"], found["model_loaded", "b"], found["models_loaded",]) == (1, 0, 1)
    assert (found["memory_budget_bytes",], found["memory_weights_bytes",]) == (100, 60)


@pytest.mark.parametrize("provider", ["cpu", "webgpu", "cuda", "tensorrt"])
def test_the_driver_is_asked_only_by_its_users(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's memory is reported for models that run on it; asking takes memory on a GPU that is not used."""
    asked = []

    def memory() -> tuple[int, int]:
        asked.append(provider)
        return 20, 80

    monkeypatch.setattr(nvidia, "memory", memory)
    found = state(provider)
    on_gpu = provider in ("cuda", "tensorrt")
    assert bool(asked) is on_gpu
    assert found.get(("gpu_memory_used_bytes",)) == (60 if on_gpu else None)
    assert found.get(("gpu_memory_total_bytes",)) == (80 if on_gpu else None)


def seen(*states: ModelState) -> dict[tuple[str, ...], float]:
    """Return what is counted while a slot goes through states."""
    measurements = Measurements()
    changes = Changes(measurements)
    for before, after in pairwise(states):
        assert after in TRANSITIONS[before]
        changes.record("a", before, after)
    counts = {(sample.metric, *sample.labels): sample.value for sample in measurements.samples()}
    return {key: value for key, value in counts.items() if key[0] != "model_load_seconds"}


def test_each_load_ends_once() -> None:
    """A load ends as loaded, failed or cancelled; a load that was cancelled and is wanted again goes on."""
    unloaded, waiting, loading = ModelState.UNLOADED, ModelState.WAITING, ModelState.LOADING
    cancelled, resident, leaving = ModelState.CANCELLED, ModelState.RESIDENT, ModelState.UNLOADING
    loads, evictions = ("model_loads", "a"), ("model_evictions", "a")
    assert seen(unloaded, waiting, unloaded) == {}
    assert seen(unloaded, waiting, loading) == {}
    assert seen(waiting, loading, resident) == {(*loads, "loaded"): 1}
    assert seen(waiting, loading, cancelled, loading, resident) == {(*loads, "loaded"): 1}
    assert seen(waiting, loading, cancelled, unloaded) == {(*loads, "cancelled"): 1}
    assert seen(waiting, loading, ModelState.FAILED, waiting) == {(*loads, "failed"): 1}
    assert seen(waiting, loading, cancelled, leaving, unloaded) == {(*loads, "loaded"): 1, evictions: 1}
    assert seen(resident, leaving, resident, unloaded) == {evictions: 1}
