"""A canvas of 256 by 256 units, drawn at three times the image's size and averaged down for antialiasing.

Units run right and down from the upper left corner.
Details should be at least about four units wide: smaller ones are lost in the latents.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .palette import Color

SIDE = 256
OVERSAMPLING = 3
Point = tuple[float, float]


class Canvas:
    """Pillow's drawing calls in canvas units; the finished image has `side` by `side` pixels."""

    def __init__(self, color: Color = (0, 0, 0), side: int = SIDE) -> None:
        self.scale = side / SIDE * OVERSAMPLING
        self.pixels = side * OVERSAMPLING
        self.image = Image.new("RGB", (self.pixels, self.pixels), color)
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """Fill a polygon."""
        self._draw.polygon([(x * self.scale, y * self.scale) for x, y in points], fill=color)

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        """Fill an ellipse around (x, y) with half axes `rx` and `ry`."""
        self._draw.ellipse(self._box(x - rx, y - ry, x + rx, y + ry), fill=color)

    def rectangle(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        """Fill a rectangle; `right` and `bottom` are exclusive."""
        box = self._box(left, top, right, bottom)
        self._draw.rectangle([box[0], box[1], box[2] - 1, box[3] - 1], fill=color)

    def rounded_rect(self, left: float, top: float, right: float, bottom: float, radius: float, color: Color) -> None:
        """Fill a rectangle whose corners have the radius `radius`."""
        self._draw.rounded_rectangle(self._box(left, top, right, bottom), radius=radius * self.scale, fill=color)

    def line(self, points: Sequence[Point], width: float, color: Color) -> None:
        """Draw a line through the points, `width` units wide."""
        scaled = [(x * self.scale, y * self.scale) for x, y in points]
        self._draw.line(scaled, fill=color, width=max(1, round(width * self.scale)), joint="curve")

    def gradient(self, top: float, bottom: float, stops: Sequence[Color]) -> None:
        """Fill the whole width with a vertical gradient through evenly spaced colours."""
        column = Image.new("RGB", (1, len(stops)))
        column.putdata(list(stops))
        height = round((bottom - top) * self.scale)
        box = (0, 0.5, 1, len(stops) - 0.5)
        band = column.resize((self.pixels, height), Image.Resampling.BILINEAR, box=box)
        self.image.paste(band, (0, round(top * self.scale)))

    def glow(self, x: float, y: float, radius: float, color: Color, strength: float) -> None:
        """Add light around (x, y) that falls off to zero at `radius`."""
        side = round(2 * radius * self.scale)
        mask = _GLOW.resize((side, side)).point(lambda value: int(value * strength))
        corner = (round((x - radius) * self.scale), round((y - radius) * self.scale))
        self.image.paste(color, corner, mask)

    def fog(self, color: Color, strength: float) -> None:
        """Add a band of fog, densest a little below the middle of the image."""
        self.image.paste(
            color,
            (0, 0),
            _FOG.point(lambda value: int(value * strength)).resize(self.image.size, Image.Resampling.BILINEAR),
        )

    def reflect(self, shore: float, color: Color, share: float) -> None:
        """Mirror everything above `shore` below it, mixed with a `share` (0 to 1) of the water's `color`."""
        height = round((SIDE - shore) * self.scale)
        line = round(shore * self.scale)
        above = self.image.crop((0, max(0, line - height), self.pixels, line))
        mirrored = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((self.pixels, height))
        self.image.paste(Image.blend(mirrored, Image.new("RGB", mirrored.size, color), share), (0, line))

    def copy(self) -> Canvas:
        """Return a canvas of its own with the same content."""
        twin = Canvas(side=self.pixels // OVERSAMPLING)
        twin.image.paste(self.image)
        return twin

    def color_at(self, x: float, y: float) -> Any:
        """Return the colour at a point of the canvas."""
        last = self.pixels - 1
        return self.image.getpixel((min(last, int(x * self.scale)), min(last, int(y * self.scale))))

    def to_image(self) -> Image.Image:
        """Return the finished image, RGB."""
        return self.image.reduce(OVERSAMPLING)

    def _box(self, left: float, top: float, right: float, bottom: float) -> list[float]:
        return [left * self.scale, top * self.scale, right * self.scale, bottom * self.scale]


def _glow_mask(side: int = 128) -> Image.Image:
    middle = (side - 1) / 2
    falloff = [max(0.0, 1 - math.hypot(x - middle, y - middle) / middle) ** 2 for y in range(side) for x in range(side)]
    mask = Image.new("L", (side, side))
    mask.putdata([int(255 * value) for value in falloff])
    return mask


def _fog_mask(rows: int = 64) -> Image.Image:
    density = [0.15 + 0.75 * math.exp(-(((row / (rows - 1) - 0.6) / 0.22) ** 2)) for row in range(rows)]
    mask = Image.new("L", (1, rows))
    mask.putdata([int(255 * value) for value in density])
    return mask


_GLOW = _glow_mask()
_FOG = _fog_mask()
