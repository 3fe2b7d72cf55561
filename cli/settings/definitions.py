"""Definitions of all settings, read from the dataclasses `ServiceConfig`, `GatewayConfig` and `ClusterConfig`.

A field's metadata has its `help`, and `unit`, `flag` and `env` if they do not follow from its type and name. A field
without `help` is not a setting.
"""

from __future__ import annotations

import os
import re
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tintype.cluster.config import ClusterConfig
from tintype.gateway.config import GatewayConfig
from tintype.service.config import ServiceConfig

from ..errors import UserError
from .values import VALUE_TYPES, ValueType

if TYPE_CHECKING:
    from dataclasses import Field

    from tintype.v1.settings import Settings

SECTIONS: dict[str, type[Settings]] = {"service": ServiceConfig, "gateway": GatewayConfig, "cluster": ClusterConfig}
# Settings of both servers, and those that are set most often. In the file they may also be above the sections.
SHARED = (
    *(
        "rest",
        "grpc",
        "models",
        "models_folder",
        "memory",
        "precision",
        "providers",
        "devices",
        "data",
        "grace",
        "lame_duck",
        "keys",
        "api_key",
        "anonymous",
    ),
    *("log_level", "log_format"),
)
SECRETS = ("api_key", "service_key", "moderation_key")
_CREDENTIALS = re.compile(r"\w+://[^/?#]*@")


def is_secret(name: str, value: object) -> bool:
    """Return whether the value of a setting must not be printed: a key, or a URL with a password."""
    return bool(value) and (name in SECRETS or bool(isinstance(value, str) and _CREDENTIALS.match(value)))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name in the file, its flag and environment variable, its type, and its default."""

    name: str
    flag: str
    env: str
    type: ValueType[object]
    help: str
    default: object


def _setting(item: Field[Any]) -> Setting:
    default = item.default if item.default_factory is MISSING else item.default_factory()
    return Setting(
        name=item.name,
        flag=item.metadata.get("flag", "--" + item.name.replace("_", "-")),
        env=item.metadata.get("env", "TINTYPE_" + item.name.upper()),
        type=VALUE_TYPES[item.metadata.get("unit", item.type)],
        help=item.metadata["help"],
        default=default,
    )


def settings_of(*configs: type[Settings]) -> dict[str, Setting]:
    """Return the settings of some sections by name; a setting of two sections is listed once."""
    found: dict[str, Setting] = {}
    for config in configs:
        for item in fields(config):
            if "help" in item.metadata:
                found.setdefault(item.name, _setting(item))
    return found


def section_of(config: type[Settings]) -> str:
    """Return the name of a configuration's section in the file."""
    return next(section for section, each in SECTIONS.items() if each is config)


def default_data() -> Path:
    """Return the folder for results and keys: `tintype` in the user's data folder (XDG base directories).

    Raises:
        UserError: the user has no home directory.
    """
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tintype"
    except RuntimeError as error:  # a user without an entry in the password database, as in some containers
        raise UserError("this user has no home directory for results and keys: name a folder with --data") from error
