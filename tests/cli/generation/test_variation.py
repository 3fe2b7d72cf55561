"""Sheets of two varied flags: the prompts of the cells, and what is refused."""

from __future__ import annotations

import pytest

from tintype.cli.commands import build_parser
from tintype.cli.errors import UserError
from tintype.cli.generation.prompts import Entry, read_prompts
from tintype.cli.generation.variation import NO_AXIS, parse_axis, vary


def cells(x: str | None, y: str | None, *flags: str) -> list[Entry]:
    entries = read_prompts(vars(build_parser().parse_args(["generate", "a lake", *flags])))
    return vary(entries, parse_axis("x", x), parse_axis("y", y))


def test_cells_are_row_by_row() -> None:
    """Each pair of values is a cell, row by row, and all cells have one seed."""
    found = cells("steps=4,8,20", "guidance=1, 3")
    pairs = [(entry.values["steps"], entry.values["guidance"]) for entry in found]
    assert pairs == [("4", "1"), ("8", "1"), ("20", "1"), ("4", "3"), ("8", "3"), ("20", "3")]
    assert len({entry.values["seed"] for entry in found}) == 1
    assert found[0].values["seed"].isdecimal()
    assert {entry.values["seed"] for entry in cells("steps=1,2", None, "--seed", "7")} == {"7"}


def test_values_of_other_kinds() -> None:
    """Prompts with commas are separated by |; adapters are added by +, and an empty value is none."""
    assert [entry.prompt for entry in cells(None, "prompt=a lake, fog|a forest")] == ["a lake, fog", "a forest"]
    loras = [entry.values["lora"] for entry in cells("lora=|film:0.5|film+pen:2", None)]
    assert loras == [[], ["film:0.5"], ["film", "pen:2"]]
    assert parse_axis("x", "lora=|film").labels == ["lora none", "lora film"]
    assert parse_axis("x", "clip-skip=0,1").labels == ["clip-skip 0", "clip-skip 1"]
    assert parse_axis("x", "prompt=a|b").labels == ["a", "b"]
    assert parse_axis("x", None) == NO_AXIS


@pytest.mark.parametrize(
    ("x", "y", "flags", "expected"),
    [
        ("steps=1", "steps=2", "", "must vary different flags; both vary steps"),
        ("seed=" + ",".join(map(str, range(51))), None, "", "--x has at most 50 values; got 51"),
        ("seed=" + "1," * 20, "steps=" + "2," * 20, "", "at most 200 images; got 21 x 21 = 441"),
        ("count=1,2", None, "", "--x varies a flag of an image; got 'count'"),
        ("steps=1", None, "--count 2", "make one image for each pair of values"),
    ],
)
def test_refused(x: str, y: str | None, flags: str, expected: str) -> None:
    """Sheets that are too large or ambiguous are refused."""
    with pytest.raises(UserError, match=expected):
        cells(x, y, *flags.split())
