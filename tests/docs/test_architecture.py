"""The packages and files that the architecture page names exist, and every package is on the page."""

from __future__ import annotations

import re

from tests.support.source import FOLDERS, ROOT

PAGE = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")


def named_paths(page: str) -> set[str]:
    """Return the paths that a page names in code spans: files, and folders of the project."""
    spans = set(re.findall(r"`([\w./]+)`", page))
    return {span for span in spans if span.partition("/")[0] in {*FOLDERS, "protos"} or span.endswith(".py")}


def test_named_paths_exist() -> None:
    """A module or package that moves or is renamed changes on the page too."""
    paths = [path for folder in (*FOLDERS, "protos", "tests") for path in (ROOT / folder).rglob("*.py")]
    missing = [
        name
        for name in sorted(named_paths(PAGE))
        if not (ROOT / name).exists() and not any(path.match(name) for path in paths)
    ]
    assert missing == []


def test_every_package_is_named() -> None:
    """A new package gets its line: a reader finds each folder of the source on the page."""
    packages = [path.parent.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")]
    spans = set(re.findall(r"`([\w./]+)`", PAGE))
    inner = {str(package).partition("/")[2] for package in packages if len(package.parts) > 1}
    assert sorted(inner - spans) == []


def test_names_are_found() -> None:
    """The pattern finds files and folders in code spans only."""
    found = named_paths("`policy.py`, `service/engine`, `SAMPLERS`, test.py, `tintype.v1`")
    assert found == {"policy.py", "service/engine"}
