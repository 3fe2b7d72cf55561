"""Settings: what every section has, and those of both servers: data folder, keys, shutdown and log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar, Self

from .keys import KEYS, Keys, check_access, is_loopback

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
_CREDENTIALS = re.compile(r"://[^/?#\s\"']*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One section of settings. A field without `help` in its metadata is not a setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common(Settings):
    """Settings that both servers have; a subclass adds those of one server.

    Times are in seconds. `RELOADED` are the settings that a running server applies when it reads its settings again;
    all others need a restart.
    """

    RELOADED: ClassVar[frozenset[str]] = frozenset(
        {"keys", "api_key", "anonymous", "grace", "lame_duck", "log_level"},
    )

    data: Path = field(default=Path(), metadata={"help": "folder for results and keys"})
    keys: Path | None = field(
        default=None, metadata={"help": "file of client keys (default: `keys` in the data folder, if it exists)"}
    )
    api_key: str = field(
        default="", metadata={"help": "an admin key in addition to the key file; prefer the environment variable"}
    )
    anonymous: bool = field(
        default=False, metadata={"help": "allow access without keys at an address that other machines can reach"}
    )
    grace: float = field(default=30.0, metadata={"help": "seconds that running requests get to finish at shutdown"})
    lame_duck: float = field(
        default=2.0,
        metadata={"help": "seconds after SIGTERM in which requests are still accepted, while readiness checks fail"},
    )
    log_level: str = field(default="info", metadata={"help": f"minimum level of log lines: {', '.join(LOG_LEVELS)}"})
    otel: str = field(
        default="",
        metadata={
            "help": "URL of a collector of traces that takes OTLP over HTTP, for example http://127.0.0.1:4318; needs "
            "the extra `otel` (default: OTEL_EXPORTER_OTLP_ENDPOINT)"
        },
    )
    log_format: str = field(default="text", metadata={"help": f"format of log lines: {', '.join(LOG_FORMATS)}"})

    @property
    def address(self) -> str:
        """The address on which the server listens, HOST:PORT."""
        raise NotImplementedError

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect to the server."""
        return is_loopback(self.address)

    @property
    def is_open(self) -> bool:
        """Whether other machines can connect, and only keys restrict access."""
        return not (self.is_local or self.anonymous)

    @property
    def key_file(self) -> Path:
        """The key file, whether or not it exists."""
        return self.keys or self.data / KEYS

    @property
    def needs_key(self) -> bool:
        """Whether requests need a key now."""
        return bool(self.api_key) or self.key_file.exists()

    def reloaded(self, new: Self) -> tuple[Self, list[str]]:
        """Return this configuration with the settings of `new` that a running server applies.

        The second value is the flags of changed settings that need a restart.
        """
        applied = replace(self, **{name: getattr(new, name) for name in self.RELOADED})
        changed = [item for item in fields(self) if getattr(applied, item.name) != getattr(new, item.name)]
        return applied, [item.metadata.get("flag", flag(item.name)) for item in changed if "help" in item.metadata]

    def check_access(self) -> None:
        """Raise KeysError if the keys are unusable, or if other machines could connect without a key."""
        keys = Keys(self.key_file, optional=self.keys is None, api_key=self.api_key)
        check_access(keys, self.key_file, self.address, is_open=self.is_open)


def restart_note(flags: list[str]) -> str:
    """Return the end of a log line that names settings which need a restart; empty if there are none."""
    return f"; {', '.join(flags)} {'need' if flags[1:] else 'needs'} a restart" if flags else ""


def flag(name: str) -> str:
    """Return the flag of a setting; messages name settings by their flags, even if the value has another source."""
    return "--" + name.replace("_", "-")


def mask_credentials(text: str) -> str:
    """Return a text without the user names and passwords of its URLs: `https://***@host/`."""
    return _CREDENTIALS.sub("://***@", text)
