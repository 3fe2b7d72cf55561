"""Settings of a deployment in a Ray cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tintype.cluster.config import ClusterConfig, Replicas, check_service, from_json, parse_replicas, to_json
from tintype.service.config import ServiceConfig


@pytest.mark.parametrize(("text", "numbers"), [("2", (2, 2)), ("1..8", (1, 8)), ("0..3", (0, 3))])
def test_replicas(text: str, numbers: tuple[int, int]) -> None:
    """A number is fixed; LEAST..MOST is a range, which may begin with 0."""
    assert parse_replicas(text) == Replicas(*numbers)
    assert parse_replicas(text).is_fixed == (numbers[0] == numbers[1])


@pytest.mark.parametrize("text", ["", "0", "0..0", "3..2", "-1", "1..", "many", "1..99999"])
def test_wrong_replicas(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(ValueError, match=r"--replicas must be a number or LEAST\.\.MOST, for example 2, 1\.\.8"):
        ClusterConfig(replicas=text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ingress": "nginx"}, "--ingress must be one of proxy, haproxy; got 'nginx'"),
        ({"gpus": 2.0}, "--gpus must be at most 1, because a replica uses one device; got 2"),
        ({"cpus": -1.0}, "--cpus must be at least 0; got -1"),
        ({"target": 0.0}, "--target must be above 0; got 0"),
        ({"scale_down_after": -2.0}, "--scale-down-after must be at least 0; got -2"),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    """A wrong value is refused with its flag."""
    with pytest.raises(ValueError, match=message):
        ClusterConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "cores", "nodes", "share"),
    [
        ({"replicas": "4"}, 16, 2, 8),  # two on each node
        ({"replicas": "1..3"}, 16, 2, 8),  # up to two on one node
        ({"replicas": "9"}, 4, 1, 1),  # at least one
        ({"replicas": "4", "cpus": 3.0}, 16, 2, 3),
        ({"replicas": "4", "gpus": 1.0}, 16, 2, 1),
    ],
)
def test_cores_of_a_replica(settings: dict[str, object], cores: int, nodes: int, share: int) -> None:
    """Without a GPU, the replicas of a node share its cores."""
    assert ClusterConfig(**settings).share(cores, nodes) == share  # type: ignore[arg-type]


def test_accepted_requests() -> None:
    """One model fills the engine's own queue; several spread over the replicas, and a setting precedes both."""
    one, two = ServiceConfig(), ServiceConfig(models=(Path("a"), Path("b")))
    folder = ServiceConfig(models_folder=Path("c"))
    assert ClusterConfig().accepted(one) > ClusterConfig().accepted(two) == ClusterConfig().accepted(folder)
    assert ClusterConfig(ongoing=3).accepted(one) == ClusterConfig(ongoing=3).accepted(two) == 3


def test_settings_of_the_service(tmp_path: Path) -> None:
    """Settings that replicas can't follow are refused."""
    check_service(ServiceConfig())
    with pytest.raises(ValueError, match="--devices has no effect in a cluster: each replica has one device"):
        check_service(ServiceConfig(devices="all"))
    with pytest.raises(ValueError, match="--tls-cert has no effect in a cluster"):
        check_service(ServiceConfig(tls_cert=tmp_path / "a.pem"))
    with pytest.raises(ValueError, match="--metrics has no effect in a cluster"):
        check_service(ServiceConfig(metrics="127.0.0.1:9464"))


def test_json() -> None:
    """Settings survive JSON, which holds only those that are not defaults."""
    service = ServiceConfig(models=(Path("/a"), Path("/b")), providers=("cpu",), vae=Path("/v"), memory=7, exact=True)
    cluster = ClusterConfig(replicas="0..4", gpus=0.5)
    values = json.loads(json.dumps({"service": to_json(service), "cluster": to_json(cluster)}))
    assert values["cluster"] == {"replicas": "0..4", "gpus": 0.5}
    assert "queue" not in values["service"]
    assert from_json(ServiceConfig, values["service"]) == service
    assert from_json(ClusterConfig, values["cluster"]) == cluster


def test_unknown_name_in_json() -> None:
    """A misspelled setting is refused."""
    with pytest.raises(ValueError, match="unknown setting 'replica' of ClusterConfig"):
        from_json(ClusterConfig, {"replica": "2"})
