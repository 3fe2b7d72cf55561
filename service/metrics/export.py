"""Samples of a service's devices as Prometheus' text."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from .definitions import DEVICE_METRICS, METRICS, PREFIX, SERVER_METRICS, Metric, Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric as Family

RUNTIMES = ("onnxruntime-gpu", "onnxruntime")  # packages of the same files


def text(server: Iterable[Sample], devices: Mapping[str, Iterable[Sample]]) -> bytes:
    """Return the metrics of a server, and those of its devices by name.

    Of `server` only the metrics of a server count, and of a device only those of a device: behind a front, the
    processes count their own calls, too.
    """
    registry = CollectorRegistry()
    registry.register(_Families([*server, _build()], devices))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Families:
    """A collector of fixed samples."""

    def __init__(self, server: Iterable[Sample], devices: Mapping[str, Iterable[Sample]]) -> None:
        own = {metric.name for metric in DEVICE_METRICS}
        self._samples: dict[str, list[Sample]] = {name: [] for name in METRICS}
        for sample in server:
            if sample.metric not in own:
                self._samples[sample.metric].append(sample)
        for device, samples in devices.items():
            for sample in samples:
                if sample.metric in own:
                    self._samples[sample.metric].append(sample._replace(labels=(device, *sample.labels)))

    def collect(self) -> Iterator[Family]:
        """Yield all families, also those without samples."""
        for metric in DEVICE_METRICS:
            yield _family(metric, ("device", *metric.labels), self._samples[metric.name])
        for metric in SERVER_METRICS:
            yield _family(metric, metric.labels, self._samples[metric.name])


def _family(metric: Metric, labels: tuple[str, ...], samples: Iterable[Sample]) -> Family:
    name = PREFIX + metric.name
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, metric.help, labels=labels)
        for sample in samples:
            histogram.add_metric(sample.labels, _cumulative(metric, sample), sample.value)
        return histogram
    family = (CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily)(name, metric.help, labels=labels)
    for sample in samples:
        family.add_metric(sample.labels, sample.value)
    return family


def _cumulative(metric: Metric, sample: Sample) -> list[tuple[str, float]]:
    bounds = map(floatToGoString, (*metric.buckets, inf))
    return list(zip(bounds, accumulate(map(float, sample.counts)), strict=True))


def _build() -> Sample:
    runtime = next(filter(None, map(_version, RUNTIMES)), "")
    return Sample("build_info", (_version("tintype"), platform.python_version(), runtime), 1)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
