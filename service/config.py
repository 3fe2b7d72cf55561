"""Settings of the service: names, units, defaults.

`cli` reads flags, variables and the settings file by it: `unit` says how a value is written if its type does not,
`flag` is the flag if it is not the field's name. A field without `help` is not a setting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tintype.v1.settings import Common

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig(Common):
    """Settings of the gRPC service. Empty `models` means the built-in model; 0 means "as the machine suggests"."""

    grpc: str = field(
        default="127.0.0.1:50051", metadata={"unit": "address", "help": "address of the gRPC service, HOST:PORT"}
    )
    models: tuple[Path, ...] = field(
        default=(), metadata={"flag": "--model", "help": "model folders; the first is the default model"}
    )
    providers: tuple[str, ...] = field(
        default=(),
        metadata={
            "flag": "--provider",
            "help": "execution providers in order of preference: tensorrt, cuda, openvino, cpu",
        },
    )
    cuda_graphs: bool = field(
        default=True,
        metadata={"help": "capture calls of denoisers as CUDA graphs; each denoiser then has GPU memory of its own"},
    )
    engines: Path | None = field(
        default=None,
        metadata={"help": "folder that TensorRT's engines are kept in; default: ~/.cache/tintype/engines"},
    )
    arena: int = field(
        default=0,
        metadata={
            "unit": "bytes",
            "help": "most GPU memory for intermediate results, and as much for each denoiser with CUDA graphs; 0: any",
        },
    )
    memory: int = field(default=0, metadata={"unit": "bytes", "help": "budget for models, such as 6GiB; 0: no limit"})
    threads: int = field(default=0, metadata={"help": "threads of one model call on a CPU; 0: one per core"})
    queue: int = field(default=64, metadata={"help": "requests that may wait before new ones are refused"})
    max_batch: int = field(default=0, metadata={"help": "images that share a model call; 0: what pays here"})
    tls_cert: Path | None = field(default=None, metadata={"help": "certificate chain (PEM) for TLS"})
    tls_key: Path | None = field(default=None, metadata={"help": "private key (PEM) for TLS"})
    tls_client_ca: Path | None = field(
        default=None, metadata={"help": "CA (PEM) that must have signed the certificates of clients (mutual TLS)"}
    )
    companion_key: str = ""  # of the gateway that `tintype up` starts; it does not make keys required

    @property
    def address(self) -> str:
        """Where the server listens."""
        return self.grpc

    @property
    def is_open(self) -> bool:
        """Whether keys alone keep other machines out."""
        return not (self.is_local or self.anonymous or self.tls_client_ca)
