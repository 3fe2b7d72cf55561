"""Coloured shapes on a plain background."""

# ruff: noqa: S311 - chance here draws pictures, nothing secret

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from .canvas import SIDE, Canvas, Point
from .palette import COLORS, Color

if TYPE_CHECKING:
    from PIL import Image

    from .spec import ShapesSpec

MIDDLE = SIDE / 2
CIRCLE_POINTS = 72


def outline(shape: str) -> list[Point]:
    """The corners of a shape around (0, 0), about 1 from the middle to the edge."""
    return _OUTLINES[shape]()


def draw_shape(canvas: Canvas, shape: str, x: float, y: float, radius: float, color: Color) -> None:
    """A shape around (x, y)."""
    canvas.polygon([(x + dx * radius, y + dy * radius) for dx, dy in outline(shape)], color)


def draw_shapes(content: ShapesSpec) -> Image.Image:
    """The picture of a `ShapesSpec`, RGB, 256 by 256."""
    chance = random.Random(f"shapes {content.seed}")
    canvas = Canvas(_tinted(content.background, chance))
    for item, (x, y, radius) in zip(content.items, _places(content, chance), strict=True):
        draw_shape(canvas, item.shape, x, y, radius, _tinted(item.color, chance))
    return canvas.picture()


def _places(content: ShapesSpec, chance: random.Random) -> list[tuple[float, float, float]]:
    if len(content.items) == 1:
        return [(MIDDLE + chance.uniform(-8, 8), MIDDLE + chance.uniform(-8, 8), 56 + 20 * content.size)]
    radius, placed = 40 + 7 * content.size, []
    for shift in (-62, 62):
        along, across = MIDDLE + shift + chance.uniform(-3, 3), MIDDLE + chance.uniform(-4, 4)
        placed.append((across, along, radius) if content.stacked else (along, across, radius))
    return placed


def _tinted(name: str, chance: random.Random) -> Color:
    red, green, blue = (max(0, min(255, value + chance.randint(-6, 6))) for value in COLORS[name])
    return red, green, blue


def _circle() -> list[Point]:
    turns = [step * math.tau / CIRCLE_POINTS for step in range(CIRCLE_POINTS)]
    return [(math.cos(turn), math.sin(turn)) for turn in turns]


def _star() -> list[Point]:
    corners = [(1.15 if point % 2 == 0 else 0.5, point * math.pi / 5) for point in range(10)]
    return [(reach * math.sin(turn), -reach * math.cos(turn)) for reach, turn in corners]


def _heart() -> list[Point]:
    """The usual parametric heart, https://mathworld.wolfram.com/HeartCurve.html, scaled to about 1."""
    points = []
    for turn in (step * math.pi / 24 for step in range(48)):
        height = 13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn) - math.cos(4 * turn)
        points.append((1.05 * math.sin(turn) ** 3, -0.066 * height))
    return points


_OUTLINES = {
    "circle": _circle,
    "square": lambda: [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "triangle": lambda: [(0, -1), (1.05, 0.85), (-1.05, 0.85)],
    "star": _star,
    "heart": _heart,
    "diamond": lambda: [(0, -1.15), (0.85, 0), (0, 1.15), (-0.85, 0)],
}
