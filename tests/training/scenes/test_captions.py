"""Captions: reproducible, correct, in words that the tokenizer knows."""

# ruff: noqa: S311

import json
import random
from pathlib import Path

import pytest

from tintype.training.scenes.captions import make_caption, make_captions
from tintype.training.scenes.spec import ColoredShape, SceneSpec, ShapesSpec, make_spec

BUILTIN = Path(__file__).parents[3] / "service" / "models" / "builtin"


def test_same_content_same_captions() -> None:
    """The same spec gives the same captions."""
    assert [make_captions(make_spec(seed)) for seed in range(30)] == [
        make_captions(make_spec(seed)) for seed in range(30)
    ]


def test_a_caption_of_one_shape_names_shape_and_both_colours() -> None:
    """A caption of one shape never omits the shape or a colour."""
    content = ShapesSpec(0, "blue", (ColoredShape("red", "circle"),), stacked=False, size=0.5)
    for seed in range(50):
        said = make_caption(content, random.Random(seed))
        assert "red circle" in said
        assert "blue" in said


@pytest.mark.parametrize(
    ("time", "words"), [("night", ("night", "midnight")), ("sunset", ("sunset", "golden", "evening", "sun"))]
)
def test_captions_name_the_time_of_day(time: str, words: tuple[str, ...]) -> None:
    """A landscape's caption names its time of day."""
    content = SceneSpec(0, "sea", time, "clear", "sea")
    assert all(any(word in make_caption(content, random.Random(seed)) for word in words) for seed in range(50))


def test_captions_are_plain_lower_case_words() -> None:
    """Captions are not empty, are ASCII, and have single spaces."""
    for seed in range(500):
        for said in make_captions(make_spec(seed), 2):
            assert said == " ".join(said.split())
            assert said
            assert said.isascii()


def test_every_word_of_the_captions_is_one_token() -> None:
    """Every word of the captions is in the tokenizer's vocabulary."""
    vocabulary = json.loads((BUILTIN / "tokenizer" / "vocab.json").read_text("utf-8"))
    words = {
        word
        for seed in range(300)
        for said in make_captions(make_spec(seed), 2)
        for word in said.replace(",", "").split()
    }
    whole = {word for word in words if word.isalpha()}
    assert {word for word in whole if f"{word.lower()}</w>" not in vocabulary} == set()
