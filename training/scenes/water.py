"""Draw lakes with reflections, the sea, rivers, and the light of a low sun on the water."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .canvas import SIDE
from .palette import Color, dim, mix

if TYPE_CHECKING:
    from .drawing import Drawing

# The distance from the horizon down to the shore of a lake.
SHORES = {"mountains": 8, "hills": 16, "forest": 32, "city": 0}
# The colours of the sea from far to near.
SEAS = (
    ((70, 160, 205), (40, 128, 190), (22, 92, 160)),
    ((90, 190, 200), (44, 156, 184), (20, 110, 156)),
    ((60, 130, 190), (34, 96, 164), (24, 66, 132)),
)


def shore_y(drawing: Drawing) -> float:
    """Return the height at which the water begins."""
    return drawing.horizon + (SHORES[drawing.scene.terrain] if drawing.scene.water == "lake" else 0)


def beach_y(drawing: Drawing) -> float:
    """Return the height of the line between sea and sand in the middle of the image."""
    return drawing.horizon + 72 - drawing.scene.seed % 3 * 8


def draw_water(drawing: Drawing) -> None:
    """Draw the scene's lake, sea or river, and the sand of a beach."""
    if drawing.scene.water == "lake":
        _draw_lake(drawing, shore_y(drawing))
    elif drawing.scene.water == "sea":
        _draw_sea(drawing, beach_y(drawing) + 24 if drawing.scene.terrain == "beach" else SIDE)
    elif drawing.scene.water == "river":
        _draw_river(drawing, drawing.horizon + (36 if drawing.scene.terrain == "forest" else 12))
    if drawing.scene.terrain == "beach":
        _draw_beach(drawing)


def _draw_lake(drawing: Drawing, shore: float) -> None:
    light = drawing.light
    tint = mix(mix(light.middle, light.horizon, 0.3), (30, 70, 130), 0.35)
    lamp = light.lamp
    water = dim(tint, (0.6 + 0.4 * lamp[0], 0.6 + 0.4 * lamp[1], 0.6 + 0.4 * lamp[2]))
    drawing.canvas.reflect(shore, water, 0.45)
    _draw_ripples(drawing, shore, mix(water, light.horizon, 0.55))
    _draw_glints(drawing, shore, SIDE)


def _draw_sea(drawing: Drawing, end: float) -> None:
    light, shore = drawing.light, shore_y(drawing)
    deep = [mix(dim(color, light.lamp), light.middle, 0.22) for color in drawing.rng.choice(SEAS)]
    deep[0] = mix(deep[0], light.horizon, 0.25)
    drawing.canvas.gradient(shore, end, deep)
    _draw_ripples(drawing, shore, mix(mix(dim((120, 190, 225), light.lamp), light.middle, 0.22), light.horizon, 0.35))
    _draw_glints(drawing, shore, end)


def _draw_ripples(drawing: Drawing, shore: float, color: Color) -> None:
    """Draw short waves, longer towards the viewer, each in the middle of a row of patches."""
    cells = drawing.cells(shore + 8, SIDE)
    for x, y in cells[: drawing.rng.choice((4, 6, 9))]:
        half = 8 + 16 * (y - shore) / (SIDE - shore)
        drawing.canvas.rounded_rect(x - half, y - 1.6, x + half, y + 1.6, 1.6, color)


def _draw_glints(drawing: Drawing, shore: float, end: float) -> None:
    """Draw the reflection of a low sun: bars that grow towards the viewer."""
    if drawing.sun is None:
        return
    x, color = drawing.sun[0], mix(drawing.light.disc, drawing.light.horizon, 0.3)
    for row in range(int((end - shore) // 16)):
        y, half = shore + 8 + row * 16, (12 + 3 * row) * (1.0, 0.66)[row % 2]
        drawing.canvas.rounded_rect(x - half, y - 2.2, x + half, y + 2.2, 2.2, color)


def _draw_river(drawing: Drawing, top: float) -> None:
    rng = drawing.rng
    bend, source, turns = drawing.side * rng.uniform(20, 44), drawing.snapped(80, 176), rng.uniform(3, 5.5)
    wide = rng.uniform(26, 44)
    color = mix(
        mix(drawing.light.shade_bright((58, 136, 210)), drawing.light.middle, 0.3),
        drawing.light.horizon,
        drawing.light.haze,
    )
    if drawing.lamps_lit:
        color = mix(color, drawing.light.top, 0.35)
    left, right = [], []
    for row in range(17):
        near = row / 16
        y, x = top + (SIDE - top) * near, source + (128 - source) * near + bend * math.sin(near * turns) * (0.3 + near)
        half = 4 + wide * near * near + 6 * near
        left.append((x - half, y))
        right.append((x + half, y))
    drawing.canvas.polygon([*left, *right[::-1]], color)


def _draw_beach(drawing: Drawing) -> None:
    rng, light, line = drawing.rng, drawing.light, beach_y(drawing)
    phase, slope = rng.uniform(0, 6), rng.choice((-0.12, -0.06, 0, 0.06, 0.12))
    edge = [(x, line + slope * (x - SIDE / 2) + 7 * math.sin(x * 0.018 + phase)) for x in range(0, SIDE + 1, 8)]
    floor = [(SIDE, SIDE), (0, SIDE)]
    foam = mix(light.shade((250, 250, 250)), light.horizon, 0.1)
    color = rng.choice(((240, 212, 152), (246, 226, 180), (232, 196, 148)))
    sand = mix(light.shade(color), light.shade_bright(color), 0.4)
    drawing.canvas.polygon([*((x, y - 7) for x, y in edge), *floor], foam)
    drawing.canvas.polygon([*edge, *floor], sand)
    drawing.canvas.polygon([*((x, y + 20) for x, y in edge), *floor], mix(sand, (255, 250, 230), 0.16))
