"""The manifest of a RayService."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tintype.cluster.config import ClusterConfig, from_json
from tintype.cluster.manifest import ray_service
from tintype.service.config import ServiceConfig

SERVICE = ServiceConfig(models=(Path("/models/sdxl é"),), memory=6 * 2**30)
CLUSTER = ClusterConfig(replicas="1..8", gpus=1, ingress_port=9100)


def documents(cluster: ClusterConfig = CLUSTER) -> tuple[Any, Any]:
    """Return the RayService and the Service of the manifest."""
    service, grpc = yaml.safe_load_all(ray_service(SERVICE, cluster, "registry/tintype:1"))
    return service, grpc


def containers(cluster: ClusterConfig = CLUSTER) -> tuple[Any, Any]:
    """Return the containers of the head and of a worker."""
    ray = documents(cluster)[0]["spec"]["rayClusterConfig"]
    pods = ray["headGroupSpec"], ray["workerGroupSpecs"][0]
    head, worker = (pod["template"]["spec"]["containers"][0] for pod in pods)
    return head, worker


def test_configuration_of_serve() -> None:
    """It names our services, the import path, and the settings that are not defaults."""
    config = yaml.safe_load(documents()[0]["spec"]["serveConfigV2"])
    assert config["grpc_options"]["port"] == 9100
    assert [name.rpartition(".")[2] for name in config["grpc_options"]["grpc_servicer_functions"]] == [
        "add_ImageServiceServicer_to_server",
        "add_HealthServicer_to_server",
    ]
    (application,) = config["applications"]
    assert application["import_path"] == "tintype.cluster.app:build"
    assert from_json(ServiceConfig, application["args"]["service"]) == SERVICE
    assert from_json(ClusterConfig, application["args"]["cluster"]) == CLUSTER


def test_one_replica_on_each_worker() -> None:
    """Workers have what one replica reserves, and their number follows that of the replicas."""
    head, worker = containers()
    group = documents()[0]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    assert (group["minReplicas"], group["maxReplicas"]) == (1, 8)
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in head["resources"]["limits"]
    assert {head["image"], worker["image"]} == {"registry/tintype:1"}
    cores = containers(ClusterConfig(cpus=6))[1]["resources"]["limits"]
    assert cores["cpu"] == "6"
    assert "nvidia.com/gpu" not in cores


def test_ingress() -> None:
    """The environment of every pod selects the ingress; a Service without its own address leads to its port."""
    for container in containers(ClusterConfig(gpus=1, ingress="haproxy")):
        assert {"name": "RAY_SERVE_ENABLE_HA_PROXY", "value": "1"} in container["env"]
    for container in containers():
        assert {"name": "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING", "value": "0"} in container["env"]
        assert {"name": "grpc", "containerPort": 9100} in container["ports"]
    grpc = documents()[1]["spec"]
    assert grpc["clusterIP"] == "None"
    assert grpc["ports"] == [{"name": "grpc", "port": 9100}]


def test_unknown_nodes() -> None:
    """The resources of a replica must be given, because there are no nodes yet to read them from."""
    with pytest.raises(ValueError, match="--cpus or --gpus must be set for a manifest"):
        ray_service(SERVICE, ClusterConfig(), "tintype-ray")
    with pytest.raises(ValueError, match="--devices has no effect"):
        ray_service(ServiceConfig(devices="all"), CLUSTER, "tintype-ray")
