"""The text in pictures: the service's own read back, others' as well."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tintype.gateway.sdapi.infotext import KEY, taken_apart, texts, with_setting, written
from tintype.service.images.encode import ENCODERS
from tintype.service.images.metadata import Parameters
from tintype.service.job import Output

from .bodies import opened, png

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


@pytest.mark.parametrize("kind", ENCODERS)
def test_read(kind: str) -> None:
    """What the service writes into files of any type is read as it was written."""
    file = BytesIO()
    ENCODERS[kind](Image.new("RGB", (16, 16)), file, Output(kind), PARAMETERS)
    assert texts(file.getvalue())[KEY] == str(PARAMETERS)


def test_after_the_pixels() -> None:
    """Texts that follow a PNG's pixels are found, and others have their own keys."""
    info = PngInfo()
    info.add(b"tEXt", KEY.encode() + b"\0late", after_idat=True)
    info.add_itxt("Comment", "ü")
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG", pnginfo=info)
    assert texts(file.getvalue()) == {KEY: "late", "Comment": "ü"}


@pytest.mark.parametrize("before", ["", "an older text"])
@pytest.mark.parametrize("text", ["a lake", "ein See mit Ü", "湖 dusk"])
def test_written(before: str, text: str) -> None:
    """A new text takes the old one's place, pixel by pixel the same picture, and every checksum is right."""
    file = written(png(16, 16, "teal", before), text)
    assert texts(file) == {KEY: text}
    assert opened(file).tobytes() == opened(png(16, 16, "teal")).tobytes()


def test_not_written() -> None:
    """Other files stay as they are."""
    assert written(b"\xff\xd8\xff rest", "x") == b"\xff\xd8\xff rest"


def test_taken_apart() -> None:
    """Prompts and settings have the web UI's names; quoted values are unquoted."""
    text = with_setting(str(PARAMETERS), {"Ignored": "a, b: c"})
    assert taken_apart(text) == {
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
    ("text", "found"),
    [
        ("", {}),
        ("only a prompt", {"Prompt": "only a prompt", "Negative prompt": ""}),
        ("Steps: 3, Seed: 1", {"Prompt": "", "Negative prompt": "", "Steps": "3", "Seed": "1"}),
        ('x\nSteps: 3, Odd: "open', {"Prompt": "x", "Negative prompt": "", "Steps": "3", "Odd": '"open'}),
    ],
)
def test_less(text: str, found: dict[str, str]) -> None:
    """Texts that lack something, or are broken, give what there is."""
    assert taken_apart(text) == found


@given(st.dictionaries(st.sampled_from(["A", "B c", "D-1"]), st.text(st.characters(codec="utf-8"), min_size=1)))
def test_round_trip(settings: dict[str, str]) -> None:
    """Any value that is added is read again, but for spaces at its ends."""
    found = taken_apart(with_setting("x\nSteps: 1", settings))
    assert {name: found[name].strip() for name in settings} == {name: value.strip() for name, value in settings.items()}


@given(st.text())
def test_any_text(text: str) -> None:
    """Nothing that strangers write there breaks the reader."""
    assert isinstance(taken_apart(text), dict)
