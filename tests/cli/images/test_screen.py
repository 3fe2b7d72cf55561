"""Images for terminals: what they decode to, and their size on the screen."""

from __future__ import annotations

import base64
import io
import re

import pytest
from PIL import Image, ImageChops

from tintype.cli.images.screen import Screen


def image_file(width: int, height: int) -> bytes:
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text, validate=True)))


def test_kitty() -> None:
    """The chunks of kitty's protocol are a PNG; the first has the size in cells, and no answer is asked for."""
    data = image_file(200, 90)
    text = Screen("kitty", cell=(8, 16)).show(data)
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert "".join(f"\x1b_G{head};{chunk}\x1b\\" for head, chunk in chunks) + "\n" == text
    assert chunks[0][0].startswith("a=T,f=100,q=2,c=25,r=6,m=")
    assert [head[-3:] for head, _ in chunks] == ["m=1"] * (len(chunks) - 1) + ["m=0"]
    assert all(len(chunk) <= 4096 for _, chunk in chunks)
    with Image.open(io.BytesIO(data)) as image:
        assert not ImageChops.difference(decoded("".join(chunk for _, chunk in chunks)), image).getbbox()


def test_iterm2() -> None:
    """An inline image of iTerm2 is a PNG with its size in pixels."""
    text = Screen("iterm2").show(image_file(64, 32))
    match = re.fullmatch(r"\x1b\]1337;File=inline=1;width=64px;height=32px;preserveAspectRatio=1:(.*)\x07\n", text)
    assert match
    assert decoded(match[1]).size == (64, 32)


def test_blocks() -> None:
    """Each character of half blocks has two pixels, in 24-bit colours; an odd row is completed."""
    text = Screen("blocks", columns=80, rows=30).show(image_file(3, 3))
    lines = text.splitlines()
    assert [line.count("▀") for line in lines] == [3, 3]
    assert all(line.endswith("\x1b[0m") for line in lines)
    assert re.match(r"\x1b\[38;2;(\d+);\1;\1;48;2;(\d+);\2;\2m▀", text)


@pytest.mark.parametrize(
    ("screen", "expected"),
    [
        (Screen("iterm2", 80, 40, (10, 20)), (480, 480)),  # 24 rows at most
        (Screen("iterm2", 20, 40, (10, 20)), (200, 200)),  # as wide as the terminal
        (Screen("iterm2", 80, 10, (10, 20)), (140, 140)),  # rows stay for text
        (Screen("iterm2", 1000, 1000, (100, 100)), (1024, 1024)),  # not enlarged
        (Screen("iterm2", 80, 1), (16, 16)),
    ],
)
def test_images_fit(screen: Screen, expected: tuple[int, int]) -> None:
    """An image is reduced to the terminal, and never enlarged."""
    text = screen.show(image_file(1024, 1024))
    assert decoded(text[text.index(":") + 1 : -2]).size == expected
