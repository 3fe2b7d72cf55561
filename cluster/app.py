"""The application of Ray Serve: one deployment, whose replicas each serve all models on one device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ray import serve

from tintype.service.config import ServiceConfig

from .config import NAME, ClusterConfig, check_service, from_json
from .replica import Replica

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ray.serve import Application

DRAIN_MARGIN = 5.0  # seconds after `grace` until a replica that still runs requests is killed
LOOK_BACK = 15.0  # seconds of load that autoscaling averages; Serve measures it every 10 s
HEALTH_PERIOD, HEALTH_TIMEOUT = 5.0, 10.0  # seconds between two checks of a replica, and for each


def build(arguments: Mapping[str, Any]) -> Application:
    """Return the application from JSON: `service` and `cluster` are settings that are not defaults.

    This is the import path of Serve's configuration files: `tintype.cluster.app:build`. Raises ValueError.
    """
    service = from_json(ServiceConfig, arguments.get("service", {}))
    cluster = from_json(ClusterConfig, arguments.get("cluster", {}))
    check_service(service)
    return application(service, cluster)


def application(service: ServiceConfig, cluster: ClusterConfig) -> Application:
    """Return the application. Without a GPU, `cpus` of the cluster's settings are the threads of a model call."""
    cpus = cluster.cpus or 1.0
    if not service.threads and not cluster.gpus:
        service = replace(service, threads=max(1, int(cpus)))
    deployment = serve.deployment(
        Replica,
        name=NAME,
        max_ongoing_requests=cluster.accepted(service),
        graceful_shutdown_timeout_s=service.grace + DRAIN_MARGIN,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=HEALTH_PERIOD,
        health_check_timeout_s=HEALTH_TIMEOUT,
        ray_actor_options={"num_cpus": cpus, "num_gpus": cluster.gpus},
        **_scaling(cluster),
    )
    wakes = cluster.numbers.least == 0  # calls wait for a replica that starts: it must answer soon
    return deployment.bind(service, models_per_replica=cluster.models_per_replica, wait=not wakes)


def _scaling(cluster: ClusterConfig) -> dict[str, Any]:
    """Return the options for a fixed or a changing number of replicas."""
    least, most = cluster.numbers
    if cluster.numbers.is_fixed:
        return {"num_replicas": least}
    return {
        "autoscaling_config": {
            "min_replicas": least,
            "initial_replicas": max(1, least),  # the first one shows that the models can be served
            "max_replicas": most,
            "target_ongoing_requests": cluster.target,
            "upscale_delay_s": cluster.scale_up_after,
            "downscale_delay_s": cluster.scale_down_after,
            "look_back_period_s": LOOK_BACK,
        }
    }
