"""Settings of the gateway: names, units, defaults, help and checks.

`cli` reads flags, environment variables and the settings file according to a field's metadata, as for the service.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tintype.v1.settings import Common, flag

from .errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

# Model names that clients of other servers send by default. They mean the default model; `list_aliases` lists them.
# `access.model_names` has the prefixes of later names.
WELL_KNOWN_NAMES = (
    "dall-e-2",
    "dall-e-3",
    "DALL-E 3",
    "gpt-image-1",
    "gpt-image-1-mini",
    "gpt-image-1.5",
    "gpt-image-2",
    "gpt-image-2-2026-04-21",
    "gpt-image-2.5-sunburst",
    "gpt-image-2.5-flare",
    "gpt-image-2.6-sunburst",
    "gpt-image-2.6-flare",
    "chatgpt-image-latest",
    "Playground v3",
    "FLUX.1 [schnell]",
    "Ideogram",
    "Stable Diffusion",
)
# Dialects of vendors that document the paths `/v1/images/generations` and `/images/generations`.
SHARED_PATH_DIALECTS = ("openai", "apipie", "aqueduct")
RESPONSE_FORMATS = ("url", "b64_json")
ALL, NONE, LOOPBACK = "*", "none", "loopback"
_HOST_AND_PORT = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?|[0-9a-f:.]+", re.IGNORECASE)
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[!-~]*)?")
NON_NEGATIVE = (
    "grace",
    "lame_duck",
    "keep_alive",
    "max_connections",
    "rate_limit",
    "image_limit",
    "max_images",
    "max_pixels",
    "max_steps",
    "max_prompt",
)
POSITIVE = ("timeout", "receive_timeout", "store_timeout", "url_ttl", "store_bytes", "fetch_bytes")
_HOST_NAME = re.compile(r"[\w.-]+|[0-9a-f:.]+", re.IGNORECASE)
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/\s*]+")


def _host_of(url: str) -> str:
    """Return the host of a URL; empty if it has none."""
    with suppress(ValueError):
        parts = urlsplit(url)
        return (parts.port != 0 and parts.hostname) or ""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig(Common):
    """Settings of the REST gateway. Sizes are bytes, times are seconds. Raises StartError for invalid values."""

    rest: str = field(
        default="127.0.0.1:8080", metadata={"unit": "address", "help": "address of the REST gateway, HOST:PORT"}
    )
    grpc: str = field(default="127.0.0.1:50051", metadata={"help": "address of the gRPC service, HOST:PORT"})
    public_url: str = field(
        default="", metadata={"help": "base URL of result links (empty: the address that the request was sent to)"}
    )
    proxies: tuple[str, ...] = field(
        default=("127.0.0.0/8", "::1"),
        metadata={
            "help": "addresses and networks of proxies whose X-Forwarded-* headers are trusted; `none` trusts no proxy"
        },
    )
    receive_timeout: float = field(
        default=30.0,
        metadata={"help": "seconds in which a request must arrive; a large one may take longer, at 16 KiB/s or more"},
    )
    keep_alive: float = field(
        default=75.0,
        metadata={"help": "seconds that an idle connection stays open; set it longer than a proxy in front does"},
    )
    max_connections: int = field(
        default=0,
        metadata={
            "help": "maximum number of connections; when full, idle ones are closed (0: 4096, or what open files allow)"
        },
    )
    timeout: float = field(default=600.0, metadata={"help": "maximum seconds per request"})
    url_ttl: float = field(default=3600.0, metadata={"help": "seconds for which a result link is valid"})
    store_bytes: int = field(
        default=2 * 2**30,
        metadata={"unit": "bytes", "help": "space for results, for example 2GiB; the oldest are deleted first"},
    )
    store: str = field(
        default="",
        metadata={"help": "bucket for results, s3://BUCKET/PREFIX; needs the extra `s3` (empty: the data folder)"},
    )
    store_endpoint: str = field(
        default="", metadata={"help": "URL of an S3 server other than Amazon's, for example http://minio:9000"}
    )
    store_public: str = field(
        default="",
        metadata={
            "help": "URL at which clients reach S3; result links then redirect to it (empty: the gateway sends results)"
        },
    )
    store_timeout: float = field(
        default=20.0,
        metadata={"help": "maximum seconds per file operation in the data folder; after that requests get 503"},
    )
    max_body: int = field(
        default=64 * 2**20, metadata={"unit": "bytes", "help": "maximum size of a request body, for example 64MiB"}
    )
    body_memory: int = field(
        default=256 * 2**20,
        metadata={
            "unit": "bytes",
            "help": "maximum memory for uploads and results of all requests; beyond it requests get 503",
        },
    )
    strict_parameters: bool = field(default=False, metadata={"help": "reject unknown JSON keys"})
    strict_models: bool = field(default=True, metadata={"help": "reject unknown model names"})
    aliases: dict[str, str] = field(
        default_factory=dict,
        metadata={
            "help": "map model names sent by clients to served models, for example dall-e-3=sdxl; `*` is the default "
            "model, to which dall-e-3 and similar names are mapped already"
        },
    )
    list_aliases: bool = field(
        default=False,
        metadata={"help": "list aliases among the models, for clients that offer only listed models"},
    )
    dialect: str = field(
        default="openai",
        metadata={"help": f"vendor whose JSON is used on /v1/images/generations: {', '.join(SHARED_PATH_DIALECTS)}"},
    )
    response_format: str = field(
        default="url", metadata={"help": "format of images in answers if the request does not set it: url or b64_json"}
    )
    cors: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "allowed CORS origins, for example https://ui.example; `loopback` allows pages of this machine, "
            "`*` allows any, `none` disables CORS (default: loopback at a loopback address, otherwise none)"
        },
    )
    hosts: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "host names that the gateway answers to, without ports; `*` allows any (default: at a loopback "
            "address those of this machine and of public_url, otherwise any)"
        },
    )
    rate_limit: int = field(
        default=0,
        metadata={"help": "requests for images per minute, for each key or address (0: no limit)"},
    )
    image_limit: int = field(default=0, metadata={"help": "images per minute, for each key or address (0: no limit)"})
    max_images: int = field(default=0, metadata={"help": "maximum number of images per request (0: 10)"})
    max_pixels: int = field(
        default=0,
        metadata={"help": "maximum pixels per image, for example 1048576 (0: 4096 x 4096)"},
    )
    max_steps: int = field(default=0, metadata={"help": "maximum number of denoising steps (0: 150)"})
    max_prompt: int = field(default=0, metadata={"help": "maximum characters per prompt (0: 32000)"})
    log_prompts: bool = field(default=False, metadata={"help": "write prompts to the log"})
    fetch: bool = field(default=True, metadata={"help": "fetch images that requests name by URL"})
    fetch_bytes: int = field(
        default=20 * 2**20, metadata={"unit": "bytes", "help": "maximum size of a fetched image, for example 20MiB"}
    )
    fetch_hosts: tuple[str, ...] = field(
        default=(),
        metadata={"help": "hosts in private networks from which images may be fetched, HOST or HOST:PORT"},
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

    def __post_init__(self) -> None:
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise StartError(f"{flag(name)} must be above 0; got {getattr(self, name)}")
        for name in NON_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise StartError(f"{flag(name)} must be 0 or more; got {getattr(self, name)}")
        for name, choices in (("dialect", SHARED_PATH_DIALECTS), ("response_format", RESPONSE_FORMATS)):
            if getattr(self, name) not in choices:
                raise StartError(f"{flag(name)} must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        if not self.body_memory >= self.max_body > 0:
            raise StartError(
                f"--max-body must be above 0 and at most --body-memory ({self.body_memory}); got {self.max_body}"
            )
        self._check_cors_and_hosts()
        self._check_proxies()
        self._check_stores_and_hosts()

    def _check_cors_and_hosts(self) -> None:
        for origin in self.cors:
            if origin not in (ALL, NONE, LOOPBACK) and not _ORIGIN.fullmatch(origin):
                expected = f"origins such as https://ui.example, {LOOPBACK}, {ALL} or {NONE}"
                raise StartError(f"--cors must be {expected}; got {origin!r}")
        for host in self.hosts:
            if host != ALL and not _HOST_NAME.fullmatch(host):
                raise StartError(f"--hosts must be names such as images.example, without ports, or {ALL}; got {host!r}")

    def _check_proxies(self) -> None:
        for proxy in self.trusted_proxies:
            try:
                ip_network(proxy)
            except ValueError:
                expected = f"addresses or networks such as 10.0.0.0/8, or {NONE}"
                raise StartError(f"--proxies must be {expected}; got {proxy!r}") from None

    def _check_stores_and_hosts(self) -> None:
        """Check the places of results and the targets of links."""
        for name in ("public_url", "store_endpoint", "store_public"):
            if getattr(self, name) and not getattr(self, name).startswith(("http://", "https://")):
                raise StartError(f"{flag(name)} must begin with http:// or https://; got {getattr(self, name)!r}")
            if getattr(self, name) and not _host_of(getattr(self, name)):
                raise StartError(
                    f"{flag(name)} must name a host, for example https://images.example; got {getattr(self, name)!r}"
                )
        for host in self.fetch_hosts:
            if not _HOST_AND_PORT.fullmatch(host):
                raise StartError(f"--fetch-hosts must be HOST or HOST:PORT, for example minio:9000; got {host!r}")
        if self.store and not _BUCKET.fullmatch(self.store):
            raise StartError(f"--store must be s3://BUCKET or s3://BUCKET/PREFIX; got {self.store!r}")

    @property
    def model_aliases(self) -> dict[str, str]:
        """Map clients' model names to models: well-known names, overridden by the configured aliases."""
        return {**dict.fromkeys(WELL_KNOWN_NAMES, "*"), **self.aliases}

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """Addresses and networks of trusted proxies."""
        return tuple(proxy for proxy in self.proxies if proxy != NONE)

    @property
    def cors_origins(self) -> tuple[str, ...]:
        """Allowed CORS origins; `*` allows any, `loopback` pages of this machine."""
        if self.cors:
            return tuple(origin for origin in self.cors if origin != NONE)
        return (LOOPBACK,) if self.is_local else ()

    @property
    def address(self) -> str:
        """The address that the server listens on, HOST:PORT."""
        return self.rest
