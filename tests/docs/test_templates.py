"""docs/templates.md lists every template that is installed.

`python -m tests.docs.test_templates` updates the table.
"""

from __future__ import annotations

import re

from tests.support.source import ROOT
from tintype.service.models.templates.catalogue import installed

PAGE = ROOT / "docs" / "templates.md"
TABLE = "<!-- templates -->\n{}<!-- end -->"
HEAD = "| template | kind | weights, M | tensors | bytes of a variant, kB | file, kB |\n|---|---|---|---|---|---|\n"


def table() -> str:
    """Return a table of all templates and their sizes, and the size of all files."""
    rows = [
        f"| `{each.name}` | {each.kind} | {each.parameters / 1e6:,.1f} | {each.tensors:,} "
        f"| {each.variants[0].size / 1e3:,.0f} | {each.path.stat().st_size / 1e3:.1f} |\n"
        for each in installed()
    ]
    total = sum(each.path.stat().st_size for each in installed())
    return HEAD + "".join(rows) + f"| all {len(rows)} | | | | | {total / 1e3:,.0f} |\n"


def filled(page: str) -> str:
    """Return the page with the current table."""
    return re.sub(TABLE.format(".*?"), lambda _: TABLE.format(table()), page, flags=re.DOTALL)


def test_table() -> None:
    """The table has a row for each template, with its sizes."""
    page = PAGE.read_text("utf-8")
    assert TABLE.format(table()) in page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
