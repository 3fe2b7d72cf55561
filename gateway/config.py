"""What the gateway can be told at start. `cli` reads flags, variables and file; here are names, units, defaults."""

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

# Names that clients of other servers send by default. They mean the default model, and can be listed; `names` has what
# later ones begin with.
USUAL_NAMES = (
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
# Dialects whose vendors document the paths `/v1/images/generations` and `/images/generations`.
SHARING = ("openai", "apipie", "aqueduct")


FORMATS = ("url", "b64_json")
ALL, NONE, LOOPBACK = "*", "none", "loopback"
_HOST = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?|[0-9a-f:.]+", re.IGNORECASE)
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[!-~]*)?")
FROM_0 = (
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
ABOVE_0 = ("timeout", "receive_timeout", "store_timeout", "url_ttl", "store_bytes", "fetch_bytes")
_NAME = re.compile(r"[\w.-]+|[0-9a-f:.]+", re.IGNORECASE)
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/\s*]+")


def _host_of(url: str) -> str:
    """Return the host that a URL names; empty if it names none."""
    with suppress(ValueError):
        parts = urlsplit(url)
        return (parts.port != 0 and parts.hostname) or ""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig(Common):
    """Settings of the REST gateway. Sizes are bytes, times seconds. Raises StartError for those that can't be."""

    rest: str = field(
        default="127.0.0.1:8080", metadata={"unit": "address", "help": "address of the REST gateway, HOST:PORT"}
    )
    grpc: str = field(default="127.0.0.1:50051", metadata={"help": "address of the gRPC service, HOST:PORT"})
    public_url: str = field(default="", metadata={"help": "base of result links; empty: as the request came"})
    proxies: tuple[str, ...] = field(
        default=("127.0.0.0/8", "::1"),
        metadata={"help": "addresses and networks of proxies whose X-Forwarded-* headers are believed; none: nobody's"},
    )
    receive_timeout: float = field(
        default=30.0,
        metadata={"help": "seconds in which a request must arrive; of a large one 16 KiB for each second, at any time"},
    )
    keep_alive: float = field(
        default=75.0,
        metadata={"help": "seconds that an idle connection stays open; longer than a proxy keeps it"},
    )
    max_connections: int = field(
        default=0,
        metadata={"help": "most connections; when full, idle ones are closed; 0: 4096, or what open files allow"},
    )
    timeout: float = field(default=600.0, metadata={"help": "seconds that one request may take"})
    url_ttl: float = field(default=3600.0, metadata={"help": "seconds that a result link works"})
    store_bytes: int = field(
        default=2 * 2**30, metadata={"unit": "bytes", "help": "space for results, such as 2GiB; oldest go first"}
    )
    store: str = field(
        default="", metadata={"help": "bucket for results, s3://BUCKET/PREFIX (extra s3); empty: the data folder"}
    )
    store_endpoint: str = field(
        default="", metadata={"help": "URL of an S3 server other than Amazon's, such as http://minio:9000"}
    )
    store_public: str = field(
        default="",
        metadata={"help": "URL at which clients reach S3: links then send them there; empty: through the gateway"},
    )
    store_timeout: float = field(
        default=20.0, metadata={"help": "seconds that one call of the data folder's disk may take: 503"}
    )
    max_body: int = field(default=64 * 2**20, metadata={"unit": "bytes", "help": "largest request body, such as 64MiB"})
    body_memory: int = field(
        default=256 * 2**20,
        metadata={"unit": "bytes", "help": "uploads and results that all requests hold together; beyond it: 503"},
    )
    strict_parameters: bool = field(default=False, metadata={"help": "unknown JSON keys are errors"})
    strict_models: bool = field(default=True, metadata={"help": "unknown model names are errors"})
    aliases: dict[str, str] = field(
        default_factory=dict,
        metadata={"help": "model names that clients send = ours; * is the default model, which dall-e-3 and such mean"},
    )
    list_aliases: bool = field(
        default=False,
        metadata={"help": "list those names among the models, for clients that let people choose no others"},
    )
    dialect: str = field(
        default="openai",
        metadata={"help": f"vendor whose JSON is spoken on /v1/images/generations: {', '.join(SHARING)}"},
    )
    response_format: str = field(
        default="url", metadata={"help": "how images are answered to clients that don't say it: url or b64_json"}
    )
    cors: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "origins of web pages that may call, such as https://ui.example; loopback: those of this machine; "
            "*: all; none: none but the gateway's own; default: loopback at a loopback address, else none"
        },
    )
    hosts: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "host names that the gateway answers to, without ports; *: any; default: at a loopback address "
            "those of this machine and that of public_url, else any"
        },
    )
    rate_limit: int = field(
        default=0,
        metadata={"help": "requests for images that one key or address may send in a minute; 0: any number"},
    )
    image_limit: int = field(
        default=0, metadata={"help": "images that one key or address may have in a minute; 0: any number"}
    )
    max_images: int = field(default=0, metadata={"help": "images that one request may ask for; 0: 10"})
    max_pixels: int = field(
        default=0,
        metadata={"help": "pixels of one image that a request may ask for, such as 1048576; 0: 4096 x 4096"},
    )
    max_steps: int = field(default=0, metadata={"help": "denoising steps that a request may ask for; 0: 150"})
    max_prompt: int = field(default=0, metadata={"help": "characters that a prompt may have; 0: 32000"})
    log_prompts: bool = field(default=False, metadata={"help": "write prompts to the log"})
    fetch: bool = field(default=True, metadata={"help": "fetch images that clients name by URL"})
    fetch_bytes: int = field(
        default=20 * 2**20, metadata={"unit": "bytes", "help": "largest image that is fetched, such as 20MiB"}
    )
    fetch_hosts: tuple[str, ...] = field(
        default=(),
        metadata={"help": "hosts in private networks that images may be fetched from, HOST or HOST:PORT"},
    )
    service_key: str = field(
        default="", metadata={"help": "admin key that this presents to the gRPC service; prefer the variable"}
    )
    tls_ca: Path | None = field(default=None, metadata={"help": "CA (PEM) of a gRPC service with TLS"})
    service_cert: Path | None = field(
        default=None, metadata={"help": "client certificate (PEM) for a gRPC service with --tls-client-ca"}
    )
    service_cert_key: Path | None = field(default=None, metadata={"help": "private key (PEM) of --service-cert"})

    def __post_init__(self) -> None:
        for name in ABOVE_0:
            if not getattr(self, name) > 0:
                raise StartError(f"{flag(name)} must be above 0, not {getattr(self, name)}")
        for name in FROM_0:
            if not getattr(self, name) >= 0:
                raise StartError(f"{flag(name)} must be 0 or more, not {getattr(self, name)}")
        for name, choices in (("dialect", SHARING), ("response_format", FORMATS)):
            if getattr(self, name) not in choices:
                raise StartError(f"{flag(name)} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        if not self.body_memory >= self.max_body > 0:
            raise StartError(f"--max-body must be above 0 and at most --body-memory, not {self.max_body}")
        self._check_browsers()
        self._check_proxies()
        self._check_places()

    def _check_browsers(self) -> None:
        for origin in self.cors:
            if origin not in (ALL, NONE, LOOPBACK) and not _ORIGIN.fullmatch(origin):
                wanted = f"origins such as https://ui.example, {LOOPBACK}, {ALL} or {NONE}"
                raise StartError(f"--cors must be {wanted}, not {origin!r}")
        for host in self.hosts:
            if host != ALL and not _NAME.fullmatch(host):
                raise StartError(f"--hosts must be names such as images.example, without ports, or {ALL}, not {host!r}")

    def _check_proxies(self) -> None:
        for proxy in self.trusted:
            try:
                ip_network(proxy)
            except ValueError:
                wanted = f"addresses or networks such as 10.0.0.0/8, or {NONE}"
                raise StartError(f"--proxies must be {wanted}, not {proxy!r}") from None

    def _check_places(self) -> None:
        """Check where results are kept, and where links lead."""
        for name in ("public_url", "store_endpoint", "store_public"):
            if getattr(self, name) and not getattr(self, name).startswith(("http://", "https://")):
                raise StartError(f"{flag(name)} must begin with http:// or https://, not {getattr(self, name)!r}")
            if getattr(self, name) and not _host_of(getattr(self, name)):
                raise StartError(
                    f"{flag(name)} must name a host, such as https://images.example, not {getattr(self, name)!r}"
                )
        for host in self.fetch_hosts:
            if not _HOST.fullmatch(host):
                raise StartError(f"--fetch-hosts must be HOST or HOST:PORT, such as minio:9000, not {host!r}")
        if self.store and not _BUCKET.fullmatch(self.store):
            raise StartError(f"--store must be s3://BUCKET or s3://BUCKET/PREFIX, not {self.store!r}")

    @property
    def names(self) -> dict[str, str]:
        """What clients' model names stand for: the usual ones and, above them, the configured ones."""
        return {**dict.fromkeys(USUAL_NAMES, "*"), **self.aliases}

    @property
    def trusted(self) -> tuple[str, ...]:
        """Addresses and networks of the proxies that are believed."""
        return tuple(proxy for proxy in self.proxies if proxy != NONE)

    @property
    def origins(self) -> tuple[str, ...]:
        """Origins of the pages that may call.

        `*` is all, `loopback` those of this machine.
        """
        if self.cors:
            return tuple(origin for origin in self.cors if origin != NONE)
        return (LOOPBACK,) if self.is_local else ()

    @property
    def address(self) -> str:
        """Where the server listens."""
        return self.rest
