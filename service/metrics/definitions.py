"""The metrics of a service: the one table of their names, labels and buckets.

Labels have bounded sets of values: names of served models, of the devices in use, of the contract's calls, of gRPC's
statuses and of error reasons. No metric reveals prompts, images or callers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

PREFIX = "tintype_service_"
# Seconds: from a step on a GPU to one of a large model on a CPU; from an idle engine to a long queue; of a whole call.
STEP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 30, 60)
WAIT_BUCKETS = (0.01, 0.05, 0.25, 1, 2, 5, 10, 20, 40, 80, 160, 320, 600)
CALL_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)
LOAD_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
WIDTHS = (1, 2, 4, 8, 16, 32, 64)  # rows


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `buckets` are the upper bounds of a histogram, `kind` is the type in Prometheus' format."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: str = "gauge"
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as exported."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


class Sample(NamedTuple):
    """A value of one metric; `counts` are those of a histogram's buckets, whose sum is `value`."""

    metric: str
    labels: tuple[str, ...]
    value: float
    counts: tuple[int, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, text, labels, "counter")


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(name, text, labels, "histogram", buckets)


# Those of one engine; the export adds the label `device`.
DEVICE_METRICS = (
    Metric("queue_tasks", "Requests that wait for their first unit of work."),
    Metric("queue_capacity", "Requests that may wait before further ones are refused."),
    Metric("running_tasks", "Requests whose work has begun."),
    _histogram("queue_seconds", "Time from a request's arrival to its first unit of work.", WAIT_BUCKETS, "model"),
    _histogram("step_seconds", "Time of one denoising step, by the rows of one call.", STEP_BUCKETS, "model", "width"),
    _histogram("step_images", "Images that share one denoising step.", WIDTHS, "model"),
    _counter("images", "Finished images.", "model"),
    _counter(
        "tasks", "Requests that have ended, by outcome: completed, or the reason of the error.", "model", "outcome"
    ),
    _counter("cancellations", "Requests that were cancelled before they were done.", "model"),
    _counter("busy_seconds", "Time that the device has worked: encode, denoise or decode.", "stage"),
    _counter("model_loads", "Ends of loads, by outcome: loaded, failed or cancelled.", "model", "outcome"),
    _histogram("model_load_seconds", "Time that a model took to load.", LOAD_BUCKETS, "model"),
    _counter("model_evictions", "Models that were evicted from memory, to make room or on request.", "model"),
    Metric("model_loaded", "1 if a model is in memory, otherwise 0.", ("model",)),
    Metric("models_loaded", "Models in memory."),
    Metric("memory_budget_bytes", "Memory budget for weights; 0: no limit."),
    Metric("memory_weights_bytes", "Weights in memory, as the budget counts them."),
    Metric("gpu_memory_used_bytes", "Used memory of an NVIDIA GPU, by all programs."),
    Metric("gpu_memory_total_bytes", "Memory of an NVIDIA GPU."),
    Metric("resident_memory_bytes", "Resident memory of the device's process."),
)
# Those of the process with the address.
SERVER_METRICS = (
    Metric("device_up", "1 if a device can serve, otherwise 0.", ("device",)),
    _counter("requests", "Answered gRPC calls.", "call", "status"),
    _histogram("request_seconds", "Time of gRPC calls.", CALL_BUCKETS, "call"),
    Metric("build_info", "1, with the versions as labels.", ("version", "python", "onnxruntime")),
)
METRICS = {metric.name: metric for metric in (*DEVICE_METRICS, *SERVER_METRICS)}
