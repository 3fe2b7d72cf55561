"""Which browsers, proxies and vendors the gateway serves, and how it reads their requests."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_network

from tintype.v1.settings import Common

from ..errors import StartError
from .checks import require_choice, require_positive

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
ALL, NONE, LOOPBACK = "*", "none", "loopback"
_HOST_AND_PORT = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?|[0-9a-f:.]+", re.IGNORECASE)
_HOST_NAME = re.compile(r"[\w.-]+|[0-9a-f:.]+", re.IGNORECASE)
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/\s*]+")


@dataclass(frozen=True, kw_only=True)
class ClientSettings(Common):
    """Settings of clients: their JSON, model names, browsers and proxies."""

    proxies: tuple[str, ...] = field(
        default=("127.0.0.0/8", "::1"),
        metadata={
            "help": "addresses and networks of proxies whose X-Forwarded-* headers are trusted; `none` trusts no proxy"
        },
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
    dialect: str = field(
        default="openai",
        metadata={"help": f"vendor whose JSON is used on /v1/images/generations: {', '.join(SHARED_PATH_DIALECTS)}"},
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
    fetch: bool = field(default=True, metadata={"help": "fetch images that requests name by URL"})
    fetch_bytes: int = field(
        default=20 * 2**20, metadata={"unit": "bytes", "help": "maximum size of a fetched image, for example 20MiB"}
    )
    fetch_hosts: tuple[str, ...] = field(
        default=(),
        metadata={"help": "hosts in private networks from which images may be fetched, HOST or HOST:PORT"},
    )

    def check_clients(self) -> None:
        """Raise StartError for an invalid value."""
        require_positive(self, ("fetch_bytes",))
        require_choice(self, "dialect", SHARED_PATH_DIALECTS)
        self._check_browsers()
        self._check_proxies()
        for host in self.fetch_hosts:
            if not _HOST_AND_PORT.fullmatch(host):
                raise StartError(f"--fetch-hosts must be HOST or HOST:PORT, for example minio:9000; got {host!r}")

    def _check_browsers(self) -> None:
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
