"""Draw lakes with reflections, the sea, rivers, and the light of a low sun on the water."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .canvas import SIDE
from .palette import Color, dim, mix

if TYPE_CHECKING:
    from .drawing import Drawing

# The distance from the horizon down to the shore of a lake.
SHORES = {"mountains": 0, "hills": 16, "forest": 30, "city": 0}
# The height of the line between sea and sand.
BEACH_LINE = 200


def shore_y(drawing: Drawing) -> float:
    """Return the height at which the water begins."""
    return drawing.horizon + (SHORES[drawing.scene.terrain] if drawing.scene.water == "lake" else 0)


def draw_water(drawing: Drawing) -> None:
    """Draw the scene's lake, sea or river, and the sand of a beach."""
    if drawing.scene.water == "lake":
        _draw_lake(drawing, shore_y(drawing))
    elif drawing.scene.water == "sea":
        _draw_sea(drawing, BEACH_LINE + 6 if drawing.scene.terrain == "beach" else SIDE)
    elif drawing.scene.water == "river":
        _draw_river(drawing, drawing.horizon + (30 if drawing.scene.terrain == "forest" else 4))
    if drawing.scene.terrain == "beach":
        _draw_beach(drawing)


def _draw_lake(drawing: Drawing, shore: float) -> None:
    light = drawing.light
    tint = mix(mix(light.middle, light.horizon, 0.3), (30, 70, 130), 0.35)
    lamp = light.lamp
    water = dim(tint, (0.6 + 0.4 * lamp[0], 0.6 + 0.4 * lamp[1], 0.6 + 0.4 * lamp[2]))
    drawing.canvas.reflect(shore, water, 0.36)
    _draw_ripples(drawing, shore, SIDE, mix(water, light.horizon, 0.5))
    _draw_glints(drawing, shore, SIDE)


def _draw_sea(drawing: Drawing, end: float) -> None:
    light, shore = drawing.light, shore_y(drawing)
    deep = [
        mix(dim(color, light.lamp), light.middle, 0.22) for color in ((70, 160, 205), (40, 128, 190), (22, 92, 160))
    ]
    deep[0] = mix(deep[0], light.horizon, 0.25)
    drawing.canvas.gradient(shore, end, deep)
    foam = mix(mix(dim((120, 190, 225), light.lamp), light.middle, 0.22), light.horizon, 0.3)
    _draw_ripples(drawing, shore, end, foam)
    _draw_glints(drawing, shore, end)


def _draw_ripples(drawing: Drawing, shore: float, end: float, color: Color) -> None:
    layout = drawing.layout("ripples")
    for _ in range(8):
        depth = layout.random() ** 1.3
        y, x = shore + 8 + (end - shore - 18) * depth, layout.uniform(-10, 240)
        drawing.canvas.line([(x, y), (x + layout.uniform(18, 36) * (0.6 + depth), y)], 2.4, color)


def _draw_glints(drawing: Drawing, shore: float, end: float) -> None:
    """Draw the reflection of a low sun: bars that grow towards the viewer."""
    if drawing.sun is None:
        return
    x, rows = drawing.sun[0], 7
    color = mix(drawing.light.disc, drawing.light.horizon, 0.3)
    for row in range(rows):
        y, half = shore + 6 + row * (end - shore - 6) / rows, (10 + 2.4 * row) * (1.0, 0.72)[row % 2]
        drawing.canvas.rounded_rect(x - half, y - 1.8, x + half, y + 1.8, 1.8, color)


def _draw_river(drawing: Drawing, top: float) -> None:
    bend = drawing.side
    color = mix(drawing.light.shade((64, 142, 205)), drawing.light.horizon, 0.28)
    left, right = [], []
    for row in range(13):
        near = row / 12
        y, x = top + (SIDE - top) * near, 128 + bend * math.sin(near * 4.2) * 34 * (0.4 + near)
        half = 3 + 34 * near * near + 6 * near
        left.append((x - half, y))
        right.append((x + half, y))
    drawing.canvas.polygon([*left, *right[::-1]], color)


def _draw_beach(drawing: Drawing) -> None:
    phase, light = drawing.layout("beach").uniform(0, 6), drawing.light
    edge = [(x, BEACH_LINE + 7 * math.sin(x * 0.018 + phase)) for x in range(0, SIDE + 1, 8)]
    floor = [(SIDE, SIDE), (0, SIDE)]
    drawing.canvas.polygon(
        [*((x, y - 6) for x, y in edge), *floor], mix(light.shade((250, 250, 250)), light.horizon, 0.1)
    )
    drawing.canvas.polygon([*edge, *floor], light.shade((240, 212, 152)))
