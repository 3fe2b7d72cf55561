"""Modules that the architecture page names exist."""

from __future__ import annotations

import re

from tests.support.source import FOLDERS, ROOT

PAGE = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")


def named(page: str) -> set[str]:
    """Return the modules that a page names in code spans: a file name, or the end of its path."""
    return set(re.findall(r"`([\w/]+\.py)`", page))


def test_named_modules_exist() -> None:
    """A module that moves or is renamed changes on the page too."""
    paths = [path for folder in (*FOLDERS, "protos", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert [name for name in sorted(named(PAGE)) if not any(path.match(name) for path in paths)] == []


def test_names_are_found() -> None:
    """The pattern finds names with and without folders, in code spans only."""
    assert named("`policy.py`, `engine/queue.py`, test.py, `tests/`") == {"policy.py", "engine/queue.py"}
