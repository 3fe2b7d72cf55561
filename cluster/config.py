"""Settings of a deployment in a Ray cluster, and the conversion of settings to JSON and back."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tintype.v1.settings import Settings, flag

if TYPE_CHECKING:
    from collections.abc import Mapping
    from dataclasses import Field

    from tintype.service.config import ServiceConfig

T = TypeVar("T", bound=Settings)

NAME = "tintype"  # of the application, and of its deployment
# The services of the ingress: functions that Ray imports by these names.
SERVICERS = (
    "tintype.v1.image_service_pb2_grpc.add_ImageServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
)
PROXY, HAPROXY = "proxy", "haproxy"
INGRESSES = (PROXY, HAPROXY)
MANY = 100  # requests that a replica accepts with one model: its own queue tells each its position
FEW = 8  # with several models: further requests go to another replica, which then loads the model as well


class Replicas(NamedTuple):
    """How many replicas there may be."""

    least: int
    most: int

    @property
    def is_fixed(self) -> bool:
        """Whether the number never changes."""
        return self.least == self.most


def parse_replicas(text: str) -> Replicas:
    """Return the numbers of replicas in `N` or `LEAST..MOST`. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,4})(?:\.\.(\d{1,4}))?", text, re.ASCII)
    replicas = Replicas(int(match[1]), int(match[2] or match[1])) if match else Replicas(0, 0)
    if not replicas.most or replicas.least > replicas.most:
        raise ValueError(
            f"{flag('replicas')} must be a number or LEAST..MOST, for example 2, 1..8, or 0..8 to scale to zero; "
            f"got {text!r}"
        )
    return replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig(Settings):
    """Settings of a deployment in a Ray cluster. Times are seconds. 0 means a value that the deployment chooses."""

    ray_address: str = field(
        default="",
        metadata={
            "flag": "--address",
            "help": "address of a running Ray, HOST:PORT or auto (default: the one on this machine, otherwise a new "
            "one, which ends with this command)",
        },
    )
    ingress: str = field(
        default=PROXY,
        metadata={
            "help": "what receives calls: proxy, Serve's own proxies, which send the requests for a model where it is "
            "loaded; haproxy, which is faster and balances by itself, for one model"
        },
    )
    ingress_port: int = field(default=9000, metadata={"help": "port of gRPC on each node"})
    probe_port: int = field(default=8000, metadata={"help": "port of Serve's HTTP health check, /-/healthz"})
    replicas: str = field(
        default="1", metadata={"help": "number of replicas, or LEAST..MOST for autoscaling; 0..8 scales to zero"}
    )
    gpus: float = field(default=0.0, metadata={"help": "GPUs of each replica; it uses one (0: none, on the CPU)"})
    cpus: float = field(
        default=0.0,
        metadata={
            "help": "CPU cores of each replica; without a GPU also threads per model call (0: with a GPU 1, otherwise "
            "a node's share for the largest number of replicas)"
        },
    )
    target: float = field(
        default=2.0, metadata={"help": "running and waiting requests per replica that autoscaling aims at"}
    )
    ongoing: int = field(
        default=0,
        metadata={
            "help": f"maximum requests that a replica accepts; others wait in Serve's queue (0: {MANY} with one model, "
            f"{FEW} with several)"
        },
    )
    scale_up_after: float = field(default=10.0, metadata={"help": "seconds of higher load before replicas are added"})
    scale_down_after: float = field(
        default=300.0, metadata={"help": "seconds of lower load before replicas are removed"}
    )
    models_per_replica: int = field(
        default=0, metadata={"help": "models that a replica keeps in memory (0: as many as --memory allows)"}
    )

    def __post_init__(self) -> None:
        parse_replicas(self.replicas)
        if self.ingress not in INGRESSES:
            raise ValueError(f"{flag('ingress')} must be one of {', '.join(INGRESSES)}; got {self.ingress!r}")
        for name in ("gpus", "cpus", "ongoing", "scale_up_after", "scale_down_after", "models_per_replica"):
            if getattr(self, name) < 0:
                raise ValueError(f"{flag(name)} must be at least 0; got {getattr(self, name):g}")
        if self.gpus > 1:
            raise ValueError(f"{flag('gpus')} must be at most 1, because a replica uses one device; got {self.gpus:g}")
        if self.target <= 0:
            raise ValueError(f"{flag('target')} must be above 0; got {self.target:g}")

    @property
    def numbers(self) -> Replicas:
        """The least and the largest number of replicas."""
        return parse_replicas(self.replicas)

    @property
    def probe_host(self) -> str:
        """Host of Serve's HTTP health check. HAProxy checks the replicas of other nodes by HTTP."""
        return "0.0.0.0" if self.ingress == HAPROXY else "127.0.0.1"  # noqa: S104

    def share(self, cores: float, nodes: int) -> float:
        """Return the CPU cores of each replica, on `nodes` nodes of which each has at least `cores` cores."""
        if self.cpus or self.gpus:
            return self.cpus or 1.0
        on_one_node = -(-self.numbers.most // max(1, nodes))
        return max(1.0, cores // on_one_node)

    def accepted(self, service: ServiceConfig) -> int:
        """Return how many requests a replica accepts. A folder of models counts as several."""
        return self.ongoing or (FEW if service.models_folder or len(service.models) > 1 else MANY)


def check_service(service: ServiceConfig) -> None:
    """Raise ValueError for a setting of the service that replicas can't follow."""
    if service.tls_cert or service.tls_key or service.tls_client_ca:
        raise ValueError(f"{flag('tls_cert')} has no effect in a cluster: the ingress of Ray Serve has no TLS")
    if service.metrics:
        raise ValueError(f"{flag('metrics')} has no effect in a cluster: use the metrics that Ray exports")
    if service.devices:
        raise ValueError(f"{flag('devices')} has no effect in a cluster: each replica has one device; use --replicas")


def to_json(config: Settings) -> dict[str, Any]:
    """Return the settings that differ from their defaults as JSON values."""
    changed = {part.name: getattr(config, part.name) for part in fields(config)}
    return {name: _json(value) for name, value in changed.items() if value != _default(config, name)}


def from_json(cls: type[T], values: Mapping[str, Any]) -> T:
    """Return settings from JSON values. Raises ValueError."""
    known = {part.name: part for part in fields(cls)}
    for name in values:
        if name not in known:
            raise ValueError(f"unknown setting {name!r} of {cls.__name__}")
    return cls(**{name: _value(known[name], value) for name, value in values.items()})


def _default(config: Settings, name: str) -> object:
    part = next(part for part in fields(config) if part.name == name)
    return None if part.default is MISSING else part.default


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _value(part: Field[Any], value: Any) -> Any:
    type_ = str(part.type)
    if type_.startswith("tuple"):
        return tuple(Path(item) if "Path" in type_ else item for item in value)
    return Path(value) if "Path" in type_ and value is not None else value
