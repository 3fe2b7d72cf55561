"""What the gateway can be told at start. `cli` reads flags, variables and file; here are names, units, defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .errors import StartError

# Names that clients of other servers send by themselves. They get the default model.
USUAL_NAMES = (
    "dall-e-2",
    "dall-e-3",
    "DALL-E 3",
    "gpt-image-1",
    "gpt-image-1-mini",
    "gpt-image-1.5",
    "gpt-image-2",
    "Playground v3",
    "FLUX.1 [schnell]",
    "Ideogram",
    "Stable Diffusion",
)
# Dialects whose vendors document the paths `/v1/images/generations` and `/images/generations`.
SHARING = ("openai", "apipie", "aqueduct")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Settings of the REST gateway. Sizes are bytes, times seconds. Raises StartError for those that can't be."""

    rest: str = field(
        default="127.0.0.1:8080", metadata={"unit": "address", "help": "address of the REST gateway, HOST:PORT"}
    )
    grpc: str = field(default="127.0.0.1:50051", metadata={"help": "address of the gRPC service, HOST:PORT"})
    data: Path = field(default=Path(), metadata={"help": "folder for results"})
    public_url: str = field(default="", metadata={"help": "base of result links; empty: as the request came"})
    timeout: float = field(default=600.0, metadata={"help": "seconds that one request may take"})
    url_ttl: float = field(default=3600.0, metadata={"help": "seconds that a result link works"})
    store_bytes: int = field(
        default=2 * 2**30, metadata={"unit": "bytes", "help": "space for results, such as 2GiB; oldest go first"}
    )
    max_body: int = field(default=64 * 2**20, metadata={"unit": "bytes", "help": "largest request body, such as 64MiB"})
    strict_parameters: bool = field(default=False, metadata={"help": "unknown JSON keys are errors"})
    strict_models: bool = field(default=True, metadata={"help": "unknown model names are errors"})
    aliases: dict[str, str] = field(
        default_factory=lambda: dict.fromkeys(USUAL_NAMES, "*"),
        metadata={"help": "model names that clients send = ours; * is the default model"},
    )
    dialect: str = field(
        default="openai",
        metadata={"help": f"vendor whose JSON is spoken on /v1/images/generations: {', '.join(SHARING)}"},
    )
    tls_ca: Path | None = field(default=None, metadata={"help": "CA (PEM) of a gRPC service with TLS"})

    def __post_init__(self) -> None:
        for name in ("timeout", "url_ttl", "store_bytes", "max_body"):
            if not getattr(self, name) > 0:
                raise StartError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.dialect not in SHARING:
            raise StartError(f"dialect must be one of {', '.join(SHARING)}, not {self.dialect!r}")
        if self.public_url and not self.public_url.startswith(("http://", "https://")):
            raise StartError(f"public_url must begin with http:// or https://, not {self.public_url!r}")
