"""Settings of the gateway: names, units, defaults, help and checks.

`cli` reads flags, environment variables and the settings file according to a field's metadata, as for the service.
`settings` has the settings by subject.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from tintype.v1.settings import Common

from .settings.clients import ClientSettings
from .settings.jobs import JobSettings
from .settings.limits import LimitSettings
from .settings.moderation import ModerationSettings
from .settings.results import ResultSettings
from .settings.tls import TlsSettings
from .settings.upstream import UpstreamSettings
from .settings.usage import UsageSettings


@dataclass(frozen=True, kw_only=True)
class GatewayConfig(
    LimitSettings,
    ClientSettings,
    ModerationSettings,
    ResultSettings,
    JobSettings,
    TlsSettings,
    UsageSettings,
    UpstreamSettings,
):
    """Settings of the REST gateway. Sizes are bytes, times are seconds. Raises StartError for invalid values."""

    RELOADED: ClassVar[frozenset[str]] = Common.RELOADED | {
        *("aliases", "list_aliases", "strict_models", "strict_parameters", "response_format"),
        *("rate_limit", "image_limit", "max_images", "max_pixels", "max_steps", "max_prompt"),
    }

    rest: str = field(
        default="127.0.0.1:8080", metadata={"unit": "address", "help": "address of the REST gateway, HOST:PORT"}
    )
    log_prompts: bool = field(default=False, metadata={"help": "write prompts to the log"})

    def __post_init__(self) -> None:
        self.check_limits()
        self.check_clients()
        self.check_results()
        self.check_tls()
        self.check_usage()
        self.check_moderation()
        self.check_jobs()

    @property
    def address(self) -> str:
        """The address that the server listens on, HOST:PORT."""
        return self.rest
