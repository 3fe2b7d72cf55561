"""Prometheus' text: names, labels, histograms."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.support.tools import check_metrics
from tintype.service.metrics.definitions import METRICS, PREFIX, Sample
from tintype.service.metrics.export import text
from tintype.service.metrics.measurements import Measurements


def measured() -> bytes:
    """Return the text of a front with two devices."""
    server, devices = Measurements(), [Measurements(), Measurements()]
    server.answered("GenerateImages", "OK", 0.3)
    for number, device in enumerate(devices, 1):
        device.answered("GenerateImages", "OK", 0.3)
        for _ in range(number):
            device.denoised('a "b"', images=1, width=2, seconds=0.03)
    return text(server.samples(), {str(number): device.samples() for number, device in enumerate(devices)})


def test_devices_are_told_apart() -> None:
    """Each device has its own counts, and calls are counted once, by the process that the client calls."""
    lines = measured().decode().splitlines()
    assert f'{PREFIX}step_seconds_count{{device="0",model="a \\"b\\"",width="2"}} 1.0' in lines
    assert f'{PREFIX}step_seconds_count{{device="1",model="a \\"b\\"",width="2"}} 2.0' in lines
    assert [line for line in lines if line.startswith(f"{PREFIX}requests_total")] == [
        f'{PREFIX}requests_total{{call="GenerateImages",status="OK"}} 1.0'
    ]


def test_buckets_are_cumulative() -> None:
    """Buckets below a value are 0, all others have the count, up to infinity."""
    (family,) = (
        each for each in text_string_to_metric_families(measured().decode()) if each.name.endswith("step_seconds")
    )
    counts = {
        float(sample.labels["le"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket") and sample.labels["device"] == "1"
    }
    assert counts[0.025] == 0
    assert counts[0.05] == counts[float("inf")] == 2


def test_every_metric_is_described() -> None:
    """All metrics are exported with type and help, also without values."""
    families = {family.name: family for family in text_string_to_metric_families(text([], {}).decode())}
    for metric in METRICS.values():
        family = families[PREFIX + metric.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


def test_processes_and_versions_are_exported() -> None:
    """The text has the process's own metrics, and the versions."""
    found = text([Sample("device_up", ("0",), 1)], {}).decode()
    assert "process_resident_memory_bytes" in found
    assert 'tintype_service_build_info{onnxruntime="' in found
    assert f'{PREFIX}device_up{{device="0"}} 1.0' in found


def test_promtool_accepts_the_metrics() -> None:
    """Prometheus' own check finds nothing wrong."""
    assert check_metrics(measured()) == ""
