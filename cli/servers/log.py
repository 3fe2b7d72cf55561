"""The log of servers on stderr, as text or JSON lines.

    2026-01-31T12:00:00.123+00:00 INFO gateway: id=req_5b0c… key=alice …
    {"timestamp": "2026-01-31T12:00:00.123+00:00", "level": "info", "server": "gateway", "message": "…", "id": "req_…"}

`--log-level` is for our own loggers. Libraries log warnings and errors alone: at lower levels some write URLs and
credentials.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tintype.v1.settings import FORMATS, LEVELS, flag

from ..errors import UserError

if TYPE_CHECKING:
    from tintype.v1.settings import Common

OURS = "tintype"


class Text(logging.Formatter):
    """Lines of text: time, level, server, message; then the traceback, if any."""

    def __init__(self, server: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {server}: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802  # logging's
        """Return the time as RFC 3339 writes it, with milliseconds and offset."""
        return _time(record)


class Json(logging.Formatter):
    """One JSON object a line; the `pairs` of a record are members."""

    def __init__(self, server: str) -> None:
        super().__init__()
        self._server = server

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line of JSON."""
        line: dict[str, Any] = {"timestamp": _time(record), "level": record.levelname.lower(), "server": self._server}
        line |= {"logger": record.name, "message": record.getMessage()}
        line |= {name: value for name, value in getattr(record, "pairs", {}).items() if name not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


FORMATTERS: dict[str, type[Text | Json]] = {"text": Text, "json": Json}


def configure(server: str, settings: Common) -> None:
    """Log to stderr as `settings` say, under the name `server`.

    Raises UserError for an unknown level or format.
    """
    for name, choices in (("log_level", LEVELS), ("log_format", FORMATS)):
        if getattr(settings, name) not in choices:
            raise UserError(f"{flag(name)} must be one of {', '.join(choices)}, not {getattr(settings, name)!r}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATTERS[settings.log_format](server))
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING))
    logging.getLogger(OURS).setLevel(level)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="milliseconds")
