"""No text installs `tintype` from a package index, where another project could register the name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.source import PACKAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = (*PACKAGES, "protos", "docs", "bench", "deploy", ".ci", ".github")
TEXTS = sorted(
    path
    for path in [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    if path.is_file() and path.suffix in {".md", ".py", ".proto", ".toml", ".sh", ".txt", ".js", ".html", ".yml", ""}
)
# The package with an extra, or its name after an installer and its options.
_INSTALLER = r"\b(?:pip|pipx|uv pip|uv tool|conda|uv) (?:install|add|run)"
_OPTIONS = r"(?: +-{1,2}[\w-]+(?:[= ][\w./-]+\.txt)?)*"
FROM_INDEX = re.compile(rf"tintype\[|{_INSTALLER}{_OPTIONS} +[\"'`]?tintype\b")


def from_index(path: Path) -> list[str]:
    """Return the commands in a file that install from an index. In pyproject.toml extras may name each other."""
    text = path.read_text("utf-8", errors="replace")
    if path.name == "pyproject.toml":
        text = re.sub(r'"tintype\[\w+\]"', "", text)
    return FROM_INDEX.findall(text)


def test_nothing_is_installed_from_an_index() -> None:
    """Documents and messages install from the clone."""
    found = {str(path.relative_to(ROOT)): from_index(path) for path in TEXTS}
    assert {path: texts for path, texts in found.items() if texts} == {}


@pytest.mark.parametrize(
    "text", ["pip install tintype", "pip install -U 'tintype[cuda]'", "pipx install tintype", "uv add tintype"]
)
def test_installing_from_an_index_is_found(text: str) -> None:
    """Commands that install from an index are found."""
    assert FROM_INDEX.search(text)


def test_installing_from_the_clone_is_allowed() -> None:
    """Commands that install from the clone are not found."""
    assert not FROM_INDEX.search("/opt/tintype/bin/pip install . and pip install -c constraints-gpu.txt '.[cuda]'")
