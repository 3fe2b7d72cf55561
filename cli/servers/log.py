"""The log of the servers that the command starts; `tintype.v1.logs` describes its lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.v1 import logs
from tintype.v1.settings import LOG_FORMATS, LOG_LEVELS, flag

from ..errors import UserError

if TYPE_CHECKING:
    from tintype.v1.settings import Common


def check(settings: Common) -> None:
    """Raise UserError if the level or the format is unknown."""
    for name, choices in (("log_level", LOG_LEVELS), ("log_format", LOG_FORMATS)):
        if getattr(settings, name) not in choices:
            raise UserError(f"{flag(name)} must be one of {', '.join(choices)}; got {getattr(settings, name)!r}")


def configure(server: str, settings: Common) -> None:
    """Set up the log on stderr, with the name of the server in each line.

    Raises:
        UserError: the level or the format is unknown.
    """
    check(settings)
    logs.configure(server, settings)
