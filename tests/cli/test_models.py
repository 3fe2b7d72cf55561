"""`tintype models`: the table of models."""

from __future__ import annotations

from tintype.cli.models import format_models
from tintype.v1 import image_service_pb2 as pb

LOADED, UNLOADED = pb.MODEL_STATE_LOADED, pb.MODEL_STATE_UNLOADED


def cells(*models: pb.Model) -> list[list[str]]:
    return [line.split() for line in format_models(models).splitlines()]


def test_one_device() -> None:
    """A service with one device has no column for devices."""
    heading, row = cells(pb.Model(name="a", state=LOADED, family="sd", is_default=True))
    assert "DEVICES" not in heading
    assert row[:3] == ["a", "loaded", "sd"]
    assert row[-1] == "default"


def test_several_devices() -> None:
    """Each model names the devices that have it."""
    first = pb.Model(name="a", state=LOADED, family="sd", provider="cuda", devices=["0", "1"], is_default=True)
    second = pb.Model(name="b", state=UNLOADED, family="sd", provider="cuda")
    heading, *rows = cells(first, second)
    assert heading[-1] == "DEVICES"
    assert [row[row.index("cuda") + 3] for row in rows] == ["0,1", "-"]
