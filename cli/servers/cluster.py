"""`tintype cluster`: the service as an application of Ray Serve."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tintype.cluster.config import ClusterConfig
from tintype.cluster.manifest import ray_service
from tintype.service.config import ServiceConfig

from ..errors import UserError
from ..settings.sources import Sources, warn_of_unknown_variables

if TYPE_CHECKING:
    from argparse import Namespace

NEEDED = "tintype cluster needs an extra: pip install '.[cluster]' in the clone"


def run(arguments: Namespace) -> int:
    """Start, describe or stop the application, or print a manifest."""
    warn_of_unknown_variables()
    sources = Sources.gather(vars(arguments))
    return ACTIONS[arguments.action](sources, sources.config(ClusterConfig))


def _up(sources: Sources, cluster: ClusterConfig) -> int:
    runner, service = _runner(), sources.config(ServiceConfig)
    with runner.connected(cluster, start=True) as is_own:
        print(format_status(runner.up(service, cluster)))
        if is_own:
            print("Ray was started by this command and ends with it; Ctrl-C stops both.", flush=True)
            runner.wait_forever()
    return 0


def _status(_: Sources, cluster: ClusterConfig) -> int:
    runner = _runner()
    with runner.connected(cluster):
        found = runner.status(cluster)
        print(format_status(found))
    return 0 if found.is_running else 1


def _down(_: Sources, cluster: ClusterConfig) -> int:
    runner = _runner()
    with runner.connected(cluster):
        print("stopped" if runner.down() else "there was no application")
    return 0


def _manifest(sources: Sources, cluster: ClusterConfig) -> int:
    service = sources.config(ServiceConfig, **_models_as_given(sources))
    try:
        print(ray_service(service, cluster, str(sources.flags.get("image") or "tintype-ray")), end="")
    except ValueError as error:
        raise UserError(str(error)) from error
    return 0


ACTIONS = {"up": _up, "status": _status, "down": _down, "manifest": _manifest}


def format_status(status: Any) -> str:
    """Return the state of the application as text, with the command of a gateway in front of it."""
    replicas = ", ".join(f"{count} {state.lower()}" for state, count in sorted(status.replicas.items())) or "none"
    lines = [f"state     {status.state.lower()}", f"replicas  {replicas}"]
    if status.message:
        lines.append(f"message   {' '.join(status.message.split())}")
    if status.addresses:
        addresses = ",".join(status.addresses)
        lines += [f"gRPC      {addresses}", "", f"tintype gateway --ray-serve --grpc {addresses}"]
    return "\n".join(lines)


def _models_as_given(sources: Sources) -> dict[str, object]:
    """Return the models as paths that are not looked up here: a manifest names those of the nodes."""
    found = sources.find_all(ServiceConfig)["models"].value
    return {"models": found} if isinstance(found, tuple) else {}


def _runner() -> Any:
    """Import what needs Ray. Raises UserError if it is not installed."""
    try:
        import_module("ray.serve")
    except ModuleNotFoundError as error:
        raise UserError(NEEDED) from error
    return import_module("tintype.cluster.run")
