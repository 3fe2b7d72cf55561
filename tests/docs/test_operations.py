"""The page about running tintype agrees with the code."""

from __future__ import annotations

from tests.support.source import ROOT
from tintype.cli.errors import EXIT_CODES

PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")


def test_exit_codes_are_documented() -> None:
    """The page lists the exit codes with their meanings."""
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    assert f"| exit code | meaning |\n|---|---|\n{rows}" in PAGE
