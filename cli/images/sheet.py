"""A sheet of several images: rows of cells with labels, as one image."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from math import ceil, isqrt, sqrt
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_CELL = 768  # pixels of a side of an image on the sheet
MAX_PIXELS = 48_000_000  # of the sheet, in all
MAX_SIDE = 16_383  # pixels; WebP's limit
GAP, TEXT_SIZE, LINE = 8, 16, 22  # pixels
BACKGROUND, INK, EMPTY = "white", "black", "#dddddd"
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


@dataclass
class Sheet:
    """Images of a run in rows of `columns` cells, by number; a missing one is an empty cell.

    `captions` has lines of text below each image. `column_labels` are above, `row_labels` to the left.
    """

    cells: int
    columns: int
    column_labels: Sequence[str] = ()
    row_labels: Sequence[str] = ()
    images: dict[int, Image.Image] = field(default_factory=dict)
    captions: dict[int, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def nearly_square(cls, cells: int) -> Sheet:
        """Return a sheet with about as many rows as columns."""
        return cls(cells, isqrt(max(cells - 1, 0)) + 1)

    def add(self, number: int, data: bytes, captions: Sequence[str] = ()) -> None:
        """Put an encoded image into a cell, reduced to the size that all cells have room for."""
        side = max(16, min(MAX_CELL, int(sqrt(MAX_PIXELS / self.cells)) - LINE, MAX_SIDE // self.columns - 2 * GAP))
        with Image.open(io.BytesIO(data)) as image:
            image.thumbnail((side, side))
            self.images[number] = image.convert("RGB")
        self.captions[number] = captions

    def draw(self) -> Image.Image:
        """Return the sheet."""
        layout = _Layout.of(self)
        sheet = Image.new("RGB", layout.size, BACKGROUND)
        pen = ImageDraw.Draw(sheet)
        for number in range(self.cells):
            row, column = divmod(number, self.columns)
            self._draw_cell(sheet, pen, number, layout.corner(row, column), layout)
        for column, text in enumerate(self.column_labels):
            left, top = layout.corner(0, column)
            _write(pen, text, (left, top - LINE), layout.width)
        for row, text in enumerate(self.row_labels):
            top = layout.corner(row, 0)[1] + layout.height // 2 - LINE // 2
            _write(pen, text, (GAP, top), layout.left - 2 * GAP)
        return sheet

    def _draw_cell(
        self, sheet: Image.Image, pen: ImageDraw.ImageDraw, number: int, corner: tuple[int, int], layout: _Layout
    ) -> None:
        left, top = corner
        image = self.images.get(number)
        if image is None:
            pen.rectangle((left, top, left + layout.width - 1, top + layout.height - 1), fill=EMPTY)
            return
        sheet.paste(image, (left + (layout.width - image.width) // 2, top + (layout.height - image.height) // 2))
        for line, text in enumerate(self.captions[number]):
            _write(pen, text, (left, top + layout.height + line * LINE), layout.width)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes in pixels: of a cell's image, of its captions, and of the margins for the labels."""

    width: int
    height: int
    captions: int
    left: int
    top: int
    size: tuple[int, int]

    @classmethod
    def of(cls, sheet: Sheet) -> _Layout:
        width = max((image.width for image in sheet.images.values()), default=64)
        height = max((image.height for image in sheet.images.values()), default=64)
        captions = LINE * max(map(len, sheet.captions.values()), default=0)
        left = GAP + (min(_longest(sheet.row_labels), MAX_CELL // 2) + GAP if sheet.row_labels else 0)
        top = GAP + (LINE if sheet.column_labels else 0)
        rows = ceil(sheet.cells / sheet.columns)
        size = (left + sheet.columns * (width + GAP), top + rows * (height + captions + GAP))
        return cls(width, height, captions, left, top, size)

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Return the left upper corner of a cell's image."""
        return self.left + column * (self.width + GAP), self.top + row * (self.height + self.captions + GAP)


def encode_sheet(sheet: Image.Image, mime_type: str) -> bytes:
    """Return the file of a sheet, without metadata."""
    buffer = io.BytesIO()
    sheet.save(buffer, FORMATS[mime_type], **({} if mime_type == "image/png" else {"quality": 92}))
    return buffer.getvalue()


def _longest(texts: Sequence[str]) -> int:
    """Return the width in pixels of the longest text."""
    font = ImageFont.load_default(TEXT_SIZE)
    return ceil(max((font.getlength(text) for text in texts), default=0))


def _write(pen: ImageDraw.ImageDraw, text: str, at: tuple[int, int], width: int) -> None:
    """Write one line, cut to `width` pixels."""
    font = ImageFont.load_default(TEXT_SIZE)
    shown = text[:200]
    while font.getlength(shown) > width and len(shown) > 1:
        shown = shown.rstrip("…")[:-1] + "…"
    pen.text(at, shown, INK, font=font)
