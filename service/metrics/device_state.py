"""The present state of one device as samples: queue, models and memory, read when Prometheus asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..models.runtime import nvidia
from ..models.runtime.cuda_graphs import DEVICE_ACCESS
from .definitions import Sample
from .measurements import resident_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..api import Device
    from ..config import ServiceConfig
    from ..models import Repository

NVIDIA = ("cuda", "tensorrt", "tensorrt-rtx")  # providers that use an NVIDIA GPU


def state_samples(config: ServiceConfig, repository: Repository, device: Device) -> list[Sample]:
    """Return the state of a device. It may wait until a CUDA graph is captured, so it belongs in a thread."""
    return [*_tasks(config, device), *_models(repository), *_memory(repository)]


def _tasks(config: ServiceConfig, device: Device) -> Iterator[Sample]:
    waiting, running = device.count_tasks()
    yield Sample("queue_tasks", (), waiting)
    yield Sample("running_tasks", (), running)
    yield Sample("queue_capacity", (), config.queue)


def _models(repository: Repository) -> Iterator[Sample]:
    loaded = {name: repository.status(name).state.is_resident for name in repository.names()}
    for name, is_loaded in loaded.items():
        yield Sample("model_loaded", (name,), is_loaded)
    yield Sample("models_loaded", (), sum(loaded.values()))


def _memory(repository: Repository) -> Iterator[Sample]:
    yield Sample("memory_budget_bytes", (), repository.components.limit)
    yield Sample("memory_weights_bytes", (), repository.components.used)
    yield Sample("resident_memory_bytes", (), resident_memory())
    providers = {repository.status(name).provider for name in repository.names()}
    if providers.isdisjoint(NVIDIA):  # asking the driver would take memory on a GPU that is not used
        return
    with DEVICE_ACCESS.shared():
        free, total = nvidia.memory()
    if total:
        yield Sample("gpu_memory_used_bytes", (), total - free)
        yield Sample("gpu_memory_total_bytes", (), total)
