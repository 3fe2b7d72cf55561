"""`tintype models`: the table of models."""

from __future__ import annotations

import pytest

from tests.support.command import tintype
from tests.support.gateway.fake_replica import fake_replicas
from tests.support.gateway.fakes import running_service
from tintype.cli import models
from tintype.cli.commands import build_parser
from tintype.cli.errors import UserError
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


@pytest.mark.anyio
async def test_a_replica_that_hangs_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list does not wait for a replica that does not answer; a warning names it."""
    monkeypatch.setattr(models, "LIST_TIMEOUT", 0.5)
    async with running_service() as first, running_service() as second:
        second.fake.hangs = True
        arguments = build_parser().parse_args(["models", "--grpc", f"{first.address},{second.address}"])
        listed = await models._call_service(arguments)
    assert [model.name for model in listed] == ["tiny", "org/large"]
    assert capsys.readouterr().err == f"warning: the image service at {second.address} does not answer\n"


@pytest.mark.anyio
async def test_text_that_is_not_a_name_is_named() -> None:
    """A host with an empty label can't be looked up."""
    arguments = build_parser().parse_args(["models", "--grpc", "dns:///a..b:1"])
    with pytest.raises(UserError, match=r"cannot look up a\.\.b: "):
        await models._call_service(arguments)


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
