"""docs/adding-a-family.md names fields, tables and files that exist."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tests.support.source import ROOT
from tintype.service.models.family import DenoiserSpec, Family, TextEncoderSpec

PAGE = (ROOT / "docs" / "adding-a-family.md").read_text("utf-8")
QUESTIONS = re.findall(r"^\| .*\? \| (.*) \|$", PAGE, re.MULTILINE)
FIELDS = {field.name for part in (Family, TextEncoderSpec, DenoiserSpec) for field in dataclasses.fields(part)}


def test_fields_exist() -> None:
    """Each question of the table is answered by fields of a family and its parts."""
    named = {name for answer in QUESTIONS for name in re.findall(r"`([a-z_]+)`", answer)}
    assert len(QUESTIONS) > 10
    assert named <= FIELDS


@pytest.mark.parametrize(("name", "path"), sorted(set(re.findall(r"`([A-Z_]+)` in `([\w/]+\.py)`", PAGE))))
def test_tables_exist(name: str, path: str) -> None:
    """A table that the page names is assigned in the file that it names."""
    assert re.search(rf"^{name}\b.* =", (ROOT / path).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:service|export|tests)/[\w/.]+)`", PAGE))))
def test_paths_exist(path: str) -> None:
    """Each file and folder on the page exists."""
    assert (ROOT / path).exists()


def test_example_is_the_row() -> None:
    """The example is a row of the table."""
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert example.rstrip() in (ROOT / "service/models/families/pixart.py").read_text("utf-8")
