"""Ovis-Image and LongCat-Image: how the prompts of LongCat-Image are split."""

from __future__ import annotations

from random import Random

import pytest

from tests.support.complexity import check_linear
from tintype.service.models.families.flux_like import quotes_by_character


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("a cat", ["a cat"]),
        ("", []),
        ("a 'b c' d", ["a ", *"'b c'", " d"]),
        ('"x"y', [*'"x"', "y"]),
        ("\u201c中文\u201d \u2018e\u2019", [*"\u201c中文\u201d", " ", *"\u2018e\u2019"]),
        ("it's John's", ["it's John's"]),
        ("say 'it's' now", ["say ", *"'it's'", " now"]),
        ("the dogs' tail", ["the dogs' tail"]),
    ],
)
def test_quoted_texts_are_split_to_characters(prompt: str, pieces: list[str]) -> None:
    """Four kinds of quotes; apostrophes within words, and quotes that do not end, are none."""
    assert quotes_by_character(prompt) == pieces


@pytest.mark.parametrize("worst", ["'", "a'", "\u2018", '"a', "a"])
def test_the_worst_prompt_takes_linear_work(worst: str) -> None:
    """Quotes that begin again and again."""
    check_linear(quotes_by_character, lambda size: worst * (size // len(worst)))


@pytest.mark.torch
def test_pieces_are_those_of_diffusers() -> None:
    """Of 3,000 strings of quotes, spaces and letters.

    diffusers mixes up two words with apostrophes, so that these strings have the same one.
    """
    pytest.importorskip("diffusers")
    from diffusers.pipelines.longcat_image.pipeline_longcat_image import split_quotation  # noqa: PLC0415

    draw = Random(0)  # noqa: S311
    for _ in range(3000):
        prompt = "".join(draw.choices([" it's ", " ", ".", "'", '"', "\u2018", "\u2019", "\u201c", "\u201d"], k=9))
        theirs = [piece for text, quoted in split_quotation(prompt) for piece in (text if quoted else [text])]
        assert quotes_by_character(prompt) == theirs, ascii(prompt)
