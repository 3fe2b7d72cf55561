"""The page about running tintype agrees with the code."""

from __future__ import annotations

import re

from tests.support.source import ROOT
from tintype.cli.errors import EXIT_CODES
from tintype.gateway.metrics import Metrics

PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")


def test_exit_codes_are_documented() -> None:
    """The page lists the exit codes with their meanings."""
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    assert f"| exit code | meaning |\n|---|---|\n{rows}" in PAGE


def test_metrics_are_documented() -> None:
    """The page lists the gateway's metrics."""
    text = Metrics().text().decode()
    families = re.findall(r"^# TYPE (tintype_\w+) (?:counter|gauge|histogram)$", text, re.MULTILINE)
    listed = re.findall(r"^\| `(tintype_\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(name for name in families if not name.endswith("_created"))
