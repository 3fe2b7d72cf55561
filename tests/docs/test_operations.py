"""The page about running tintype says what the code does."""

from __future__ import annotations

from pathlib import Path

from tintype.cli.errors import EXIT_CODES


def test_exit_codes_are_documented() -> None:
    """The page about running it has the exit codes as the code has them."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    assert f"| exit code | meaning |\n|---|---|\n{rows}" in page
