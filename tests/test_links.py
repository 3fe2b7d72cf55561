"""Relative links in the project's pages lead to existing files and headings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.source import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in {"node_modules", "build"} for part in path.relative_to(ROOT).parts)
)
_BLOCK = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(rf"{_BLOCK.pattern}|`[^`\n]+`", _BLOCK.flags)
_LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives headings: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ +(.+?) *$", _BLOCK.sub("", page), re.MULTILINE)
    words = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in words}


def broken_links(page: Path, text: str) -> list[str]:
    """Return the relative links in a page's text that lead to no existing file or heading."""
    found = []
    for link in _LINK.findall(_CODE.sub("", text)):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            found.append(link)
    return found


def test_relative_links_exist() -> None:
    """Every relative link leads to an existing file, and to an existing heading in it."""
    found = {str(page.relative_to(ROOT)): broken_links(page, page.read_text("utf-8")) for page in PAGES}
    assert {page: links for page, links in found.items() if links} == {}


def test_broken_links_are_found(tmp_path: Path) -> None:
    """A missing file and a missing heading are found; links in code and to other sites are not checked."""
    page = tmp_path / "a.md"
    page.write_text("# Where it *is*, 2\n```\n# no heading\n```\n", "utf-8")
    text = "[x](#where-it-is-2) [x](a.md) `[x](y.md)` [x](https://z/) [x](b.md) [x](a.md#no-heading)"
    assert broken_links(page, text) == ["b.md", "a.md#no-heading"]
