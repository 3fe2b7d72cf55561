"""What the page about the architecture names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
ROOMS = ("service", "gateway", "cli", "export", "tests")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.py)`", PAGE.read_text("utf-8")))))
def test_named_modules_are_there(name: str) -> None:
    """A module that moved, or has another name now, has it on the page too."""
    assert any(found for room in ROOMS for found in (ROOT / room).rglob(Path(name).name) if found.match(name)), name


def test_the_page_names_modules() -> None:
    """The pattern finds them."""
    assert re.search(r"`policy\.py`", PAGE.read_text("utf-8"))
