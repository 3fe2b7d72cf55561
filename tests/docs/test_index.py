"""docs/README.md lists every page of the documentation."""

from __future__ import annotations

import re

from tests.support.source import ROOT

DOCS = ROOT / "docs"


def test_every_page_is_listed() -> None:
    """Every page in docs/ has a row; decisions have an index of their own."""
    listed = re.findall(r"^\| \[[^\]]+\]\(([\w.-]+\.md)\) \|", (DOCS / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in DOCS.glob("*.md") if page.name != "README.md")
