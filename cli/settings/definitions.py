"""What can be set. It stands in the dataclasses `ServiceConfig` and `GatewayConfig` alone.

A field's metadata has its `help`, and where they are not the obvious ones its `unit`, `flag` and `env`. A field without
`help` is not a setting.
"""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tintype.gateway.config import GatewayConfig
from tintype.service.config import ServiceConfig

from ..errors import UserError
from .values import KINDS, Kind

if TYPE_CHECKING:
    from dataclasses import Field


class Config(Protocol):
    """Any dataclass of settings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


SECTIONS: dict[str, type[Config]] = {"service": ServiceConfig, "gateway": GatewayConfig}
# What several rooms need, or everybody sets: in the file it may stand above the sections.
SHARED = (
    *("rest", "grpc", "models", "memory", "providers", "data", "grace", "lame_duck", "keys", "api_key", "anonymous"),
    *("log_level", "log_format"),
)
SECRET = ("api_key", "service_key")


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set: its name in the file, its flag, its variable, how it is read, and its default."""

    name: str
    flag: str
    env: str
    kind: Kind
    help: str
    default: Any


def _setting(item: Field[Any]) -> Setting:
    default = item.default if item.default_factory is MISSING else item.default_factory()
    return Setting(
        name=item.name,
        flag=item.metadata.get("flag", "--" + item.name.replace("_", "-")),
        env=item.metadata.get("env", "TINTYPE_" + item.name.upper()),
        kind=KINDS[item.metadata.get("unit", item.type)],
        help=item.metadata["help"],
        default=default,
    )


def settings_of(*configs: type[Config]) -> dict[str, Setting]:
    """All settings of some sections by name; a name that two sections share stands once."""
    found: dict[str, Setting] = {}
    for config in configs:
        for item in fields(config):
            if "help" in item.metadata:
                found.setdefault(item.name, _setting(item))
    return found


def default_data() -> Path:
    """Folder for results and keys: `tintype` in the user's data folder (XDG base directories). Raises UserError."""
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tintype"
    except RuntimeError as error:  # as of a number without a name, in a container
        raise UserError("this user has no home for results and keys: name a folder with --data") from error
