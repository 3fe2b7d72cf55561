"""A Kubernetes manifest: a RayService, with which KubeRay starts the Ray cluster and the application.

Serve's configuration in it is JSON, which is also YAML. `deploy/` has manifests of plain replicas, without Ray.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .config import HAPROXY, NAME, SERVICERS, check_service, to_json

if TYPE_CHECKING:
    from tintype.service.config import ServiceConfig

    from .config import ClusterConfig

RAY_VERSION = "2.60.0"
HEAD_PORTS = {"gcs": 6379, "dashboard": 8265}
NODE_MEMORY = "16Gi"


def ingress_variables(cluster: ClusterConfig) -> dict[str, str]:
    """Return the environment of all Ray processes, which Serve reads when they start."""
    if cluster.ingress == HAPROXY:
        return {"RAY_SERVE_ENABLE_HA_PROXY": "1"}
    return {"RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0"}


def serve_config(service: ServiceConfig, cluster: ClusterConfig) -> dict[str, Any]:
    """Return Serve's configuration file for these settings. Raises ValueError."""
    check_service(service)
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": cluster.probe_port},  # noqa: S104  # the kubelet's probes
        "grpc_options": {"port": cluster.ingress_port, "grpc_servicer_functions": list(SERVICERS)},
        "applications": [
            {
                "name": NAME,
                "import_path": "tintype.cluster.app:build",
                "route_prefix": "/",
                "args": {"service": to_json(service), "cluster": to_json(cluster)},
            }
        ],
    }


def ray_service(service: ServiceConfig, cluster: ClusterConfig, image: str) -> str:
    """Return the manifest of a RayService as YAML, with one replica on each worker. Raises ValueError."""
    if not (cluster.cpus or cluster.gpus):
        raise ValueError("--cpus or --gpus must be set for a manifest: the nodes of the cluster are not known yet")
    config = json.dumps(serve_config(service, cluster), indent=2, ensure_ascii=False)
    return _TEMPLATE.format(
        config=_indented(config, 4),
        version=RAY_VERSION,
        head=_pod(cluster, image, {"cpu": "2", "memory": "8Gi"}, HEAD_PORTS),
        worker=_pod(cluster, image, _worker_resources(cluster), {}),
        least=max(1, cluster.numbers.least),
        most=cluster.numbers.most,
        grpc=cluster.ingress_port,
        probe=cluster.probe_port,
    )


def _worker_resources(cluster: ClusterConfig) -> dict[str, str]:
    gpu = {"nvidia.com/gpu": "1"} if cluster.gpus else {}
    return {"cpu": f"{max(1.0, cluster.cpus):g}", "memory": NODE_MEMORY} | gpu


def _pod(cluster: ClusterConfig, image: str, resources: dict[str, str], ports: dict[str, int]) -> str:
    """Return a pod's container as JSON, indented as the template needs it."""
    ports = ports | {"serve": cluster.probe_port, "grpc": cluster.ingress_port}
    container = {
        "name": "ray",
        "image": image,
        "env": [{"name": name, "value": value} for name, value in ingress_variables(cluster).items()],
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "resources": {"limits": resources, "requests": resources},
    }
    return _indented(json.dumps(container, indent=2), 14)


def _indented(text: str, spaces: int) -> str:
    return text.replace("\n", "\n" + " " * spaces)


_TEMPLATE = """\
# A RayService for KubeRay. The image needs Ray {version}, tintype with its extra `cluster`, and the models.
apiVersion: ray.io/v1
kind: RayService
metadata:
  name: tintype
spec:
  serveConfigV2: |
    {config}
  rayClusterConfig:
    rayVersion: "{version}"
    enableInTreeAutoscaling: true
    headGroupSpec:
      rayStartParams:
        num-cpus: "0"
      template:
        spec:
          containers:
            - {head}
    workerGroupSpecs:
      - groupName: replicas
        replicas: {least}
        minReplicas: {least}
        maxReplicas: {most}
        rayStartParams: {{}}
        template:
          spec:
            containers:
            - {worker}
---
# The gateway's target is dns:///tintype-grpc:{grpc}. Headless, because the gateway balances by itself.
apiVersion: v1
kind: Service
metadata:
  name: tintype-grpc
spec:
  clusterIP: None
  selector:
    ray.io/serve: "true"
  ports:
    - name: grpc
      port: {grpc}
"""
