"""No text tells anyone to install a package called tintype from an index, where another could have taken the name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("service", "gateway", "cli", "export", "protos", "docs", "bench", ".ci")
TEXTS = sorted(
    path
    for path in [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    if path.is_file() and path.suffix in {".md", ".py", ".proto", ".toml", ".sh", ".txt", ".js", ".html", ""}
)
# An extra of a package of that name, or its name after an installer's options.
_INSTALLER = r"\b(?:pip|pipx|uv pip|uv tool|conda|uv) (?:install|add|run)"
_OPTIONS = r"(?: +-{1,2}[\w-]+(?:[= ][\w./-]+\.txt)?)*"
FROM_INDEX = re.compile(rf"tintype\[|{_INSTALLER}{_OPTIONS} +[\"'`]?tintype\b")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_installed_from_an_index(path: Path) -> None:
    """Documents and messages install from the clone; only pyproject.toml's extras name each other."""
    text = path.read_text("utf-8", errors="replace")
    if path.name == "pyproject.toml":
        text = re.sub(r'"tintype\[\w+\]"', "", text)
    assert FROM_INDEX.findall(text) == []


@pytest.mark.parametrize(
    "text", ["pip install tintype", "pip install -U 'tintype[cuda]'", "pipx install tintype", "uv add tintype"]
)
def test_it_would_be_seen(text: str) -> None:
    """The pattern finds what it is for."""
    assert FROM_INDEX.search(text)


def test_the_clone_is_allowed() -> None:
    """What is installed from the clone is not found."""
    assert not FROM_INDEX.search("/opt/tintype/bin/pip install . and pip install -c constraints-gpu.txt '.[cuda]'")
