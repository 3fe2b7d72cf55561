"""The servers' log on stderr, as text or as JSON lines.

    2026-01-31T12:00:00.123+00:00 INFO gateway: id=req_5b0c… key=alice …
    {"timestamp": "2026-01-31T12:00:00.123+00:00", "level": "info", "server": "gateway", "message": "…", "id": "req_…"}

In JSON every line that is written while a request is served has the ids of request and trace (`set_ids`).

`--log-level` applies to tintype's own loggers. Libraries log only warnings and errors: at lower levels some of them
write URLs and credentials.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .settings import Common

LOGGER = "tintype"  # the parent of all loggers of tintype
_IDS: ContextVar[Mapping[str, str]] = ContextVar("tintype-ids", default={})  # noqa: B039  # it is replaced, not changed


class TextFormatter(logging.Formatter):
    """Lines of text: time, level, server, message; then the traceback, if any."""

    def __init__(self, server: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {server}: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802  # logging's
        """Return the time in RFC 3339 format, with milliseconds and offset."""
        return _time(record)


class JsonFormatter(logging.Formatter):
    """One JSON object per line; the `pairs` of a record are members of the object."""

    def __init__(self, server: str) -> None:
        super().__init__()
        self._server = server

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line of JSON."""
        line: dict[str, object] = {"timestamp": _time(record), "level": record.levelname.lower()}
        line |= {"server": self._server, "logger": record.name, "message": record.getMessage()}
        pairs = {**_IDS.get(), **getattr(record, "pairs", {})}
        line |= {name: value for name, value in pairs.items() if name not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


FORMATTERS: dict[str, type[TextFormatter | JsonFormatter]] = {"text": TextFormatter, "json": JsonFormatter}


@contextmanager
def separate_ids() -> Iterator[None]:
    """Forget, at the end of the block, the ids that are set in it."""
    before = _IDS.get()
    try:
        yield
    finally:
        _IDS.set(before)


def set_ids(**ids: str) -> None:
    """Add ids, by name, to each JSON line that is written in this context from now on; empty ones are left out."""
    _IDS.set({**_IDS.get(), **{name: value for name, value in ids.items() if value}})


def configure(server: str, settings: Common) -> None:
    """Set up the log on stderr, with the name of the server in each line; level and format must be known ones."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATTERS[settings.log_format](server))
    level = _level(settings.log_level)
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING))
    logging.getLogger(LOGGER).setLevel(level)


def set_level(name: str) -> None:
    """Change the lowest level that is written."""
    logging.getLogger().setLevel(max(_level(name), logging.WARNING))
    logging.getLogger(LOGGER).setLevel(_level(name))


def _level(name: str) -> int:
    return logging.getLevelNamesMapping()[name.upper()]


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="milliseconds")
