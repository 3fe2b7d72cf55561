"""Settings common to service and gateway: keys, log, and stopping."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .keys import KEYS, Keys, check_access, is_loopback

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Settings of both servers; each server's own are in a subclass.

    Times are seconds.
    """

    data: Path = field(default=Path(), metadata={"help": "folder for results and keys"})
    keys: Path | None = field(
        default=None, metadata={"help": "key file of clients; default: `keys` in the data folder, if it exists"}
    )
    api_key: str = field(default="", metadata={"help": "an admin key in addition to the key file; prefer the variable"})
    anonymous: bool = field(
        default=False, metadata={"help": "allow access without keys at an address that other machines can reach"}
    )
    grace: float = field(default=30.0, metadata={"help": "seconds that running requests get to end when stopping"})
    lame_duck: float = field(
        default=2.0,
        metadata={"help": "seconds after SIGTERM in which requests are still accepted, while readiness says no"},
    )
    log_level: str = field(default="info", metadata={"help": f"least level of log lines: {', '.join(LEVELS)}"})
    log_format: str = field(default="text", metadata={"help": f"format of log lines: {', '.join(FORMATS)}"})

    @property
    def address(self) -> str:
        """Where the server listens."""
        raise NotImplementedError

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.address)

    @property
    def is_open(self) -> bool:
        """Whether keys alone keep other machines out."""
        return not (self.is_local or self.anonymous)

    @property
    def key_file(self) -> Path:
        """The key file, whether or not it exists."""
        return self.keys or self.data / KEYS

    @property
    def needs_key(self) -> bool:
        """Whether a key is required, as things are now."""
        return bool(self.api_key) or self.key_file.exists()

    def check_access(self) -> None:
        """Raise KeysError for unusable keys, or a server open without any."""
        keys = Keys(self.key_file, optional=self.keys is None, api_key=self.api_key)
        check_access(keys, self.key_file, self.address, is_open=self.is_open)


def flag(name: str) -> str:
    """Return the name of a setting in messages: its flag.

    It is the flag wherever the value came from.
    """
    return "--" + name.replace("_", "-")
