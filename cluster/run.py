"""Start, describe and stop the application in a Ray cluster."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tintype.v1.keys import Keys, check_access

from .config import NAME, SERVICERS, check_service
from .manifest import ingress_variables

if TYPE_CHECKING:
    from collections.abc import Generator

    from tintype.service.config import ServiceConfig

    from .config import ClusterConfig

POLL = 0.5  # seconds between two looks at the state of the application
DOWN_TIMEOUT = 600.0  # seconds


class ClusterError(Exception):
    """The application can't be started, described or stopped; the message is one line."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the application. `addresses` are those of its ingress, HOST:PORT."""

    state: str
    message: str
    replicas: dict[str, int]
    addresses: tuple[str, ...]

    @property
    def is_running(self) -> bool:
        """Whether requests are served; while there are no replicas, the next request starts one."""
        return self.state == "RUNNING"


@contextmanager
def connected(cluster: ClusterConfig, *, start: bool = False) -> Generator[bool]:
    """Connect to Ray, and yield whether this process has started it; then it ends with the block.

    Raises ClusterError if there is none and `start` is False.
    """
    os.environ.update(ingress_variables(cluster))  # Serve reads them when it is imported
    import ray  # noqa: PLC0415

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    options: dict[str, Any] = {"namespace": "serve", "log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=cluster.ray_address or "auto", **options)
        is_own = False
    except (ConnectionError, RuntimeError, ValueError) as error:
        if cluster.ray_address or not start:
            where = cluster.ray_address or "this machine"
            raise ClusterError(f"no Ray at {where}: {_first_line(error)}; start one with `ray start --head`") from error
        ray.init(address="local", include_dashboard=False, **options)
        is_own = True
    try:
        yield is_own
    finally:
        ray.shutdown()


def up(service: ServiceConfig, cluster: ClusterConfig) -> Status:
    """Deploy the application, or update it replica by replica, and wait until it serves.

    Call this inside `connected`. Raises ClusterError, and KeysError if clients could connect without a key.
    """
    from ray import serve  # noqa: PLC0415
    from ray.serve.config import HTTPOptions, gRPCOptions  # noqa: PLC0415

    from .app import application  # noqa: PLC0415

    try:
        check_service(service)
        service.check()
    except ValueError as error:
        raise ClusterError(str(error)) from error
    _check_access(service, cluster)
    cores, nodes = _cores()
    serve.start(
        proxy_location="EveryNode",
        grpc_options=gRPCOptions(port=cluster.ingress_port, grpc_servicer_functions=list(SERVICERS)),
        http_options=HTTPOptions(host=cluster.probe_host, port=cluster.probe_port),
        controller_options={"runtime_env": {"env_vars": ingress_variables(cluster)}},
    )
    sized = replace(cluster, cpus=cluster.share(cores, nodes))
    try:
        serve.run(application(service, sized), name=NAME, route_prefix="/")  # gRPC needs it, too
    except RuntimeError as error:
        raise ClusterError(f"the application was not deployed: {_deployment_error(error)}") from error
    return status(cluster)


def status(cluster: ClusterConfig) -> Status:
    """Return the state of the application. Call this inside `connected`."""
    import ray  # noqa: PLC0415
    from ray import serve  # noqa: PLC0415

    found = serve.status()
    hosts = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    proxies = [hosts[node] for node, state in found.proxies.items() if node in hosts and state.value == "HEALTHY"]
    addresses = tuple(f"{host}:{cluster.ingress_port}" for host in dict.fromkeys(proxies))
    application = found.applications.get(NAME)
    if application is None:
        return Status("NOT_DEPLOYED", "", {}, addresses)
    replicas = application.deployments[NAME].replica_states if NAME in application.deployments else {}
    return Status(application.status.value, application.message, {str(k): n for k, n in replicas.items()}, addresses)


def down() -> bool:
    """Stop the application: running requests finish within their grace. Return whether there was one.

    Without other applications Serve ends as well. Call this inside `connected`. Raises ClusterError.
    """
    from ray import serve  # noqa: PLC0415

    if NAME not in (found := serve.status().applications):
        return False
    serve.delete(NAME, _blocking=False)
    until = time.monotonic() + DOWN_TIMEOUT
    while NAME in serve.status().applications:
        if time.monotonic() > until:
            raise ClusterError(f"the application has not ended within {DOWN_TIMEOUT:g} s")
        time.sleep(POLL)
    if len(found) == 1:
        serve.shutdown()
    return True


def wait_forever() -> None:
    """Wait until Ctrl-C."""
    while True:
        time.sleep(3600)


def _check_access(service: ServiceConfig, cluster: ClusterConfig) -> None:
    """Raise KeysError if other machines could connect without a key: the ingress listens on all addresses."""
    keys = Keys(service.key_file, optional=service.keys is None, api_key=service.api_key)
    check_access(keys, service.key_file, f"0.0.0.0:{cluster.ingress_port}", is_open=not service.anonymous)


def _cores() -> tuple[float, int]:
    """Return the CPU cores of the smallest node that has any, and the number of these nodes."""
    import ray  # noqa: PLC0415

    cores = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    usable = [count for count in cores if count]
    return (min(usable), len(usable)) if usable else (1.0, 1)


def _deployment_error(error: Exception) -> str:
    """Return the cause of a failed deployment: the last line that names an exception of a replica."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if "Error" in line or "tintype." in line]
    return (causes or lines or [type(error).__name__])[-1]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
