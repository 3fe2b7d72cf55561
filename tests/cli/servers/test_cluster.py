"""`tintype cluster`, as far as it needs no Ray."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import yaml

from tintype.cli import main
from tintype.cli.servers.cluster import format_status

MANIFEST = [
    "cluster",
    "manifest",
    "--models-folder",
    "/srv/models",
    "--model",
    "/models/sdxl",
    "--replicas",
    "0..8",
    "--gpus",
    "1",
    "--memory",
    "6GiB",
]


def test_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    """`manifest` prints a RayService with the settings; the models need not exist on this machine."""
    assert main([*MANIFEST, "--image", "registry/tintype:1"]) == 0
    service, _ = yaml.safe_load_all(capsys.readouterr().out)
    assert service["kind"] == "RayService"
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    assert application["args"]["cluster"] == {"replicas": "0..8", "gpus": 1.0}
    assert application["args"]["service"]["models"] == ["/models/sdxl"]
    assert application["args"]["service"]["memory"] == 6 * 2**30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["manifest", "--model", "/m"], "--cpus or --gpus must be set for a manifest"),
        (
            ["manifest", "--gpus", "1", "--tls-cert", "a"],
            "'--tls-cert' (a flag of `tintype serve`)",
        ),
        (["up", "--replicas", "3..1"], "--replicas must be a number or LEAST..MOST"),
        (["start"], "invalid action 'start'"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is one line."""
    assert main(["cluster", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("action", ["up", "status", "down"])
def test_without_ray(action: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the extra, one line says how to install it."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "ray.serve", raising=False)
    assert main(["cluster", action]) == 2
    assert capsys.readouterr().err == (
        "tintype: tintype cluster needs an extra: pip install '.[cluster]' in the clone\n"
    )


def test_status() -> None:
    """The state is shown with the replicas, and with the command of a gateway."""
    addresses = ("10.0.0.1:9000", "10.0.0.2:9000")
    running = SimpleNamespace(state="RUNNING", message="", replicas={"RUNNING": 2, "STARTING": 1}, addresses=addresses)
    assert format_status(running).splitlines() == [
        "state     running",
        "replicas  2 running, 1 starting",
        "gRPC      10.0.0.1:9000,10.0.0.2:9000",
        "",
        "tintype gateway --ray-serve --grpc 10.0.0.1:9000,10.0.0.2:9000",
    ]
    failed = SimpleNamespace(state="DEPLOY_FAILED", message="no\nGPU", replicas={}, addresses=())
    assert format_status(failed).splitlines() == ["state     deploy_failed", "replicas  none", "message   no GPU"]
