"""The setting `devices`: a number, `all`, or names."""

from __future__ import annotations

import pytest

from tintype.service.config import ServiceConfig
from tintype.service.devices.choice import Choice, parse_choice


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("2", Choice(count=2)),
        (" all ", Choice()),
        ("0,1, 3", Choice(("0", "1", "3"))),
        ("1,", Choice(("1",))),
        ("GPU-5ba2,MIG-7/1/0", Choice(("GPU-5ba2", "MIG-7/1/0"))),
    ],
)
def test_choices(text: str, choice: Choice) -> None:
    """A number alone is a count; numbers before a comma are names."""
    assert parse_choice(text) == choice
    assert choice.is_all == (text == " all ")


@pytest.mark.parametrize("text", ["", "0", "65", "-1", "0,0", "a b", ",", "0,,1", "1" * 5000])
def test_invalid_choices(text: str) -> None:
    """An invalid text gets one line that names what would be right, also as a setting."""
    with pytest.raises(ValueError, match=r"^must be a number from 1 to 64, all, or names .*; got '"):
        parse_choice(text)
    if text:
        with pytest.raises(ValueError, match=r"^--devices must be a number"):
            ServiceConfig(devices=text)
