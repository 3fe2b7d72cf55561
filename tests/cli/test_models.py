"""`tintype models`: the table of models."""

from __future__ import annotations

import pytest

from tests.support.command import tintype
from tests.support.gateway.fake_replica import fake_replicas
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


@pytest.mark.slow
def test_several_replicas() -> None:
    """Loading reaches every replica that can be reached; the table names those that have the model."""
    with fake_replicas(2) as replicas:
        addresses = [replica.address for replica in replicas]
        done = tintype("models", "load", "tiny", "--grpc", ",".join([*addresses, "127.0.0.1:9"]))
    assert done.returncode == 0, done.stderr
    heading, row = (line.split() for line in done.stdout.splitlines())
    assert heading[-1] == "DEVICES"
    assert ",".join(addresses) in row
    assert "cannot connect to the image service at 127.0.0.1:9" in done.stderr
