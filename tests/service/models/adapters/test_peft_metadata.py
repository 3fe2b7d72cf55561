"""Alphas of PEFT's metadata: names are looked up, regular expressions are bounded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tintype.service.models.adapters.peft_metadata import MAX_EXPRESSIONS, NamePatterns, PeftMetadata

MODULES = ("down.0.attn.to_q", "down.0.attn.to_out.0", "to_q", "mid.to_q.x", "down.0.attn.xto_q")
PATTERNS: list[dict[str, Any]] = [
    {"to_q": 1},
    {"^to_q": 1, "attn.to_q": 2},
    {r"attn\.to_q": 1, "to_q": 2},
    {"nothing": 1, "down.*to_q": 2, "to_q": 3},
    {"to_q": 3, "down.*to_q": 2},
    {"down.0.attn.(to_q|to_out.0)": 5},
    {r"down\.\d+\.attn\.to_q": 7},
]


@pytest.mark.parametrize("patterns", PATTERNS)
def test_the_first_pattern_that_matches_applies(patterns: dict[str, Any]) -> None:
    """As in PEFT: a pattern is a regular expression for the whole name, or for its end after a dot."""
    for module in MODULES:
        expected = next((v for p, v in patterns.items() if re.match(rf"(.*\.)?({p})$", module)), None)
        assert NamePatterns(patterns).find(module) == expected


@pytest.mark.parametrize(
    ("patterns", "problem"),
    [
        ({"(a+)+(b+)+$": 1}, "has more than 4 operators"),
        ({"(": 1}, "is invalid"),
        ({f"x{n}.*": 1 for n in range(MAX_EXPRESSIONS + 1)}, f"{MAX_EXPRESSIONS + 1} patterns are regular expressions"),
    ],
)
def test_expressions_are_bounded(patterns: dict[str, Any], problem: str) -> None:
    """A file can neither make matching slow nor raise an error of the parser."""
    with pytest.raises(ValueError, match=problem):
        NamePatterns(patterns)


def test_thousands_of_names_are_looked_up() -> None:
    """Diffusers writes one pattern for each layer; the general alpha holds for the others."""
    values = {"unet.lora_alpha": 3, "unet.alpha_pattern": {f"block.{n}.to_q": n for n in range(1, 20_000)}}
    metadata = PeftMetadata(values)
    assert [metadata.scale("unet", f"block.{n}.to_q", 2) for n in (1, 19_999, 20_000)] == [0.5, 19_999 / 2, 1.5]
    assert metadata.scale("text_encoder", "block.1.to_q", 2) == 1
