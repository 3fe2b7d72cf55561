"""The log: date and level in each line, text or JSON, and only warnings and errors of libraries."""

from __future__ import annotations

import json
import logging
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tintype.cli.errors import UserError
from tintype.cli.servers import log
from tintype.gateway.config import GatewayConfig
from tintype.v1.logs import LOGGER

if TYPE_CHECKING:
    from collections.abc import Iterator

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"


@contextmanager
def configured_log(**settings: str) -> Iterator[None]:
    """Configure the log without other handlers, such as those of pytest."""
    root, own_logger = logging.getLogger(), logging.getLogger(LOGGER)
    before = root.handlers, root.level, own_logger.level
    root.handlers = []
    try:
        log.configure("gateway", GatewayConfig(**settings))  # type: ignore[arg-type]
        yield
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])
        own_logger.setLevel(before[2])


def log_lines(capsys: pytest.CaptureFixture[str], level: str, format_: str) -> list[str]:
    """Log at each level, as tintype and as a library, and return the lines."""
    extra = {"pairs": {"id": "req_1", "queue": 0.5, "message": "not this"}}
    with configured_log(log_level=level, log_format=format_):
        for name in ("tintype.gateway.access", "httpx"):
            for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
                logging.getLogger(name).log(number, "of %s", name, extra=extra)
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("level", "own", "others"), [("debug", 4, 2), ("info", 3, 2), ("warning", 2, 2), ("error", 1, 1)]
)
def test_text_lines_have_time_level_and_server(
    capsys: pytest.CaptureFixture[str], level: str, own: int, others: int
) -> None:
    """A line has date, time, offset, level and server; the level applies to tintype's loggers, not to libraries."""
    lines = log_lines(capsys, level, "text")
    assert all(re.fullmatch(rf"{TIME} (DEBUG|INFO|WARNING|ERROR) gateway: of [\w.]+", line) for line in lines)
    assert [sum(name in line for line in lines) for name in ("tintype", "httpx")] == [own, others]


def test_json_lines_have_the_requests_values(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is an object; the values of a request are members, and cannot replace the message."""
    first = json.loads(log_lines(capsys, "info", "json")[0])
    assert re.fullmatch(TIME, first.pop("timestamp"))
    assert first == {
        "level": "info",
        "server": "gateway",
        "logger": "tintype.gateway.access",
        "message": "of tintype.gateway.access",
        "id": "req_1",
        "queue": 0.5,
    }


def test_json_traceback_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A record with a traceback is still one line."""
    with configured_log(log_format="json"):
        try:
            os.stat("/nowhere")  # noqa: PTH116
        except OSError:
            logging.getLogger("tintype.service").exception("two\nlines")
    (line,) = capsys.readouterr().err.splitlines()
    assert "FileNotFoundError" in json.loads(line)["traceback"]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"log_level": "loud"}, "--log-level must be one of debug, info, warning, error; got 'loud'"),
        ({"log_format": "xml"}, "--log-format must be one of text, json; got 'xml'"),
    ],
)
def test_unknown_level_or_format_lists_the_known(setting: dict[str, str], expected: str) -> None:
    """An unknown level or format is refused; the message lists the known ones."""
    with pytest.raises(UserError, match=expected):
        log.configure("up", GatewayConfig(**setting))  # type: ignore[arg-type]
