"""Sheets of several images: where each one is, their labels, and their bounds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tintype.cli.images.sheet import GAP, LINE, MAX_CELL, MAX_SIDE, Sheet, encode_sheet

COLORS = ["red", "lime", "blue", "yellow", "cyan"]


def image_file(color: str, size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def test_cells() -> None:
    """Five images are in three columns, in their order; an image that is missing is an empty cell."""
    sheet = Sheet.nearly_square(5)
    for number, color in enumerate(COLORS):
        if number != 3:
            sheet.add(number, image_file(color))
    drawn = sheet.draw()
    assert drawn.size == (GAP + 3 * (40 + GAP), GAP + 2 * (30 + GAP))
    middles = [drawn.getpixel((GAP + 20 + column * (40 + GAP), GAP + 15)) for column in range(3)]
    assert middles == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert drawn.getpixel((GAP + 20, GAP + 15 + 30 + GAP)) == (221, 221, 221)
    assert drawn.getpixel((GAP + 20 + 40 + GAP, GAP + 15 + 30 + GAP)) == (0, 255, 255)


def test_labels() -> None:
    """Labels are above and to the left, captions below, and long ones are cut to the width of an image."""
    sheet = Sheet(2, 2, ["steps 4", "steps 20"], ["guidance 1"])
    sheet.add(0, image_file("red"), ["a" * 500, "seed 1"])
    sheet.add(1, image_file("lime"))
    drawn = sheet.draw()
    ink = np.asarray(drawn.convert("L")) < 100
    left = drawn.width - 2 * (40 + GAP)
    top = GAP + LINE
    assert ink[top : top + 30, :left].any()
    assert ink[: top - 1, left : left + 40].any()
    assert ink[top + 30 :, left : left + 40].any()
    assert not ink[top + 30 :, left + 42 :].any()
    assert drawn.height == top + 30 + 2 * LINE + GAP


@pytest.mark.parametrize(("cells", "columns"), [(1, 1), (10_000, 100)])
def test_sheets_are_bounded(cells: int, columns: int) -> None:
    """Images are reduced, so that a sheet of any number of them can be encoded in each format."""
    sheet = Sheet(cells, columns)
    sheet.add(0, image_file("red", (1000, 1000)))
    assert sheet.images[0].width <= MAX_CELL
    drawn = sheet.draw()
    assert max(drawn.size) <= MAX_SIDE
    assert drawn.width * drawn.height < 60_000_000


def test_formats() -> None:
    """A sheet is encoded in the format of its file."""
    sheet = Sheet(1, 1)
    sheet.add(0, image_file("red"))
    for name in ("png", "jpeg", "webp"):
        with Image.open(io.BytesIO(encode_sheet(sheet.draw(), f"image/{name}"))) as image:
            assert image.format == name.upper()
            assert image.size == (40 + 2 * GAP, 30 + 2 * GAP)
