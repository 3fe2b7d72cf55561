"""The gRPC service behind the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tintype.v1.settings import Common

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings(Common):
    """Address and credentials of the gRPC service."""

    grpc: str = field(
        default="127.0.0.1:50051",
        metadata={
            "help": "address of the gRPC service, HOST:PORT; for several replicas their addresses, separated by "
            "commas, or dns:///NAME:PORT for all addresses of a name"
        },
    )
    ray_serve: bool = field(
        default=False,
        metadata={
            "help": "the addresses are proxies of Ray Serve (`tintype cluster`): ask them for health, not the "
            "replicas, and name the model of a request for their routing"
        },
    )
    service_key: str = field(
        default="", metadata={"help": "admin key for the gRPC service; prefer the environment variable"}
    )
    tls_ca: Path | None = field(
        default=None, metadata={"help": "CA (PEM) that signed the certificate of the gRPC service; turns TLS on"}
    )
    service_cert: Path | None = field(
        default=None, metadata={"help": "client certificate (PEM) for a gRPC service that runs with --tls-client-ca"}
    )
    service_cert_key: Path | None = field(default=None, metadata={"help": "private key (PEM) of --service-cert"})
