"""Draw coloured shapes on a plain background."""

# ruff: noqa: S311 - these random numbers draw images; they keep nothing secret

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from .canvas import SIDE, Canvas, Point
from .drawing import PATCH, STEP
from .palette import COLORS, Color

if TYPE_CHECKING:
    from PIL import Image

    from .spec import ShapesSpec

MIDDLE = SIDE / 2
CIRCLE_POINTS = 72


def draw_shape(canvas: Canvas, shape: str, x: float, y: float, radius: float, color: Color) -> None:
    """Fill a shape around (x, y); `radius` is about its extent from the centre."""
    canvas.polygon([(x + dx * radius, y + dy * radius) for dx, dy in _OUTLINES[shape]()], color)


def draw_shapes(content: ShapesSpec, side: int = SIDE) -> Image.Image:
    """Render a `ShapesSpec`: RGB, `side` by `side`."""
    rng = random.Random(f"shapes {content.seed}")
    canvas = Canvas(_tinted(content.background, rng), side)
    for item, (x, y, radius) in zip(content.items, _places(content, rng), strict=True):
        draw_shape(canvas, item.shape, x, y, radius, _tinted(item.color, rng))
    return canvas.to_image()


def _places(content: ShapesSpec, rng: random.Random) -> list[tuple[float, float, float]]:
    """Return x, y and radius of each shape.

    Centres are multiples of `PATCH`, and radii are of five or two lengths, so that a small network draws the edges of
    every one sharply (`drawing`).
    """
    shifts = (-PATCH, 0, PATCH)
    if len(content.items) == 1:
        return [(MIDDLE + rng.choice(shifts), MIDDLE + rng.choice(shifts), STEP * (6 + int(5 * content.size)))]
    radius, placed = float(STEP * (5 + int(2 * content.size))), []
    for shift in (-64, 64):
        along, across = MIDDLE + shift, MIDDLE + rng.choice(shifts)
        placed.append((across, along, radius) if content.stacked else (along, across, radius))
    return placed


def _tinted(name: str, rng: random.Random) -> Color:
    red, green, blue = (max(0, min(255, value + rng.randint(-6, 6))) for value in COLORS[name])
    return red, green, blue


def _circle() -> list[Point]:
    turns = [step * math.tau / CIRCLE_POINTS for step in range(CIRCLE_POINTS)]
    return [(math.cos(turn), math.sin(turn)) for turn in turns]


def _star() -> list[Point]:
    corners = [(1.15 if point % 2 == 0 else 0.5, point * math.pi / 5) for point in range(10)]
    return [(reach * math.sin(turn), -reach * math.cos(turn)) for reach, turn in corners]


def _heart() -> list[Point]:
    """Return the parametric heart of https://mathworld.wolfram.com/HeartCurve.html, scaled to about 1."""
    points = []
    for turn in (step * math.pi / 24 for step in range(48)):
        height = 13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn) - math.cos(4 * turn)
        points.append((1.05 * math.sin(turn) ** 3, -0.066 * height))
    return points


# Corners around (0, 0), about 1 from the centre to the edge.
_OUTLINES = {
    "circle": _circle,
    "square": lambda: [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "triangle": lambda: [(0, -1), (1.05, 0.85), (-1.05, 0.85)],
    "star": _star,
    "heart": _heart,
    "diamond": lambda: [(0, -1.15), (0.85, 0), (0, 1.15), (-0.85, 0)],
}
