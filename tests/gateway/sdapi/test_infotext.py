"""The text about how an image was made: parsed and extended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gateway.bodies import open_image, png
from tintype.gateway.sdapi.infotext import add_settings, parse_infotext, write_infotext
from tintype.service.images.metadata import Parameters
from tintype.v1.image_texts import KEY, read_texts

PARAMETERS = Parameters(
    prompt="a lake, (at dusk:1.2)\nwith a boat, ü 湖",
    negative_prompt="blurry",
    steps=20,
    sampler="dpmpp_2m",
    schedule="karras",
    guidance_scale=7.5,
    seed=7,
    width=512,
    height=768,
    model="org/a, b",
)


def test_parses_prompts_and_settings() -> None:
    """Prompts and settings have the web UI's names; quoted values are unquoted."""
    text = add_settings(str(PARAMETERS), {"Ignored": "a, b: c"})
    assert parse_infotext(text) == {
        "Prompt": PARAMETERS.prompt,
        "Negative prompt": "blurry",
        "Steps": "20",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": "7.5",
        "Seed": "7",
        "Size": "512x768",
        "Size-1": "512",
        "Size-2": "768",
        "Model": "org/a, b",
        "Version": "tintype",
        "Ignored": "a, b: c",
    }


@pytest.mark.parametrize(
    ("text", "prompt", "found"),
    [
        ("only a prompt", "only a prompt", {}),
        ("Steps: 3, Seed: 1", "", {"Steps": "3", "Seed": "1"}),
        ('Steps: 3, A: "b, c" d, E: f', "", {"Steps": "3", "A": '"b', "E": "f"}),
        ('Steps: 3, A: "\\"", B:, , c, : d, E:f', "", {"Steps": "3", "A": '"', "B": "", "E": "f"}),
        ("Steps: " + "1" * 70_000, "Steps: " + "1" * 70_000, {}),
        ('x\nSteps: 3, Odd: "open', "x", {"Steps": "3", "Odd": '"open'}),
    ],
    ids=range(6),
)
def test_incomplete_texts_are_parsed_in_part(text: str, prompt: str, found: dict[str, str]) -> None:
    """Incomplete or damaged texts give what they contain."""
    assert parse_infotext(text) == {"Prompt": prompt, "Negative prompt": ""} | found


def test_empty_text_has_no_settings() -> None:
    """An empty text has no settings."""
    assert parse_infotext(" \n") == {}


@given(st.dictionaries(st.sampled_from(["A", "B c", "D-1"]), st.text(st.characters(codec="utf-8"), min_size=1)))
def test_added_settings_are_parsed_again(settings: dict[str, str]) -> None:
    """Every value that is added is parsed again, except for spaces at its ends."""
    found = parse_infotext(add_settings("x\nSteps: 1", settings))
    assert {name: found[name].strip() for name in settings} == {name: value.strip() for name, value in settings.items()}


@given(st.text())
def test_any_text_is_parsed(text: str) -> None:
    """No text breaks the parser."""
    assert isinstance(parse_infotext(text), dict)


@pytest.mark.parametrize("before", ["", "an older text"])
@pytest.mark.parametrize("text", ["a lake", "ein See mit Ü", "湖 dusk"])
def test_new_infotext_replaces_the_old_one(before: str, text: str) -> None:
    """A new text replaces the old one, the pixels are unchanged, and every checksum is correct."""
    file = write_infotext(png(16, 16, "teal", before), text)
    assert read_texts(file) == {KEY: text}
    assert open_image(file).tobytes() == open_image(png(16, 16, "teal")).tobytes()


def test_other_file_types_are_unchanged() -> None:
    """Files of other types are unchanged."""
    assert write_infotext(b"\xff\xd8\xff rest", "x") == b"\xff\xd8\xff rest"
