"""Lakes that mirror what stands above them, the sea, rivers, and the light of a low sun on the water."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .canvas import SIDE
from .palette import Color, dim, mix

if TYPE_CHECKING:
    from .drawing import Stage

# How far below the horizon a lake begins.
SHORES = {"mountains": 0, "hills": 16, "forest": 30, "city": 0}
BEACH_LINE = 200


def shore_of(stage: Stage) -> float:
    """Where the water begins."""
    return stage.horizon + (SHORES[stage.scene.terrain] if stage.scene.water == "lake" else 0)


def draw_water(stage: Stage) -> None:
    """The scene's lake, sea or river, and the sand of a beach."""
    if stage.scene.water == "lake":
        _lake(stage, shore_of(stage))
    elif stage.scene.water == "sea":
        _sea(stage, BEACH_LINE + 6 if stage.scene.terrain == "beach" else SIDE)
    elif stage.scene.water == "river":
        _river(stage, stage.horizon + (30 if stage.scene.terrain == "forest" else 4))
    if stage.scene.terrain == "beach":
        _beach(stage)


def _lake(stage: Stage, shore: float) -> None:
    light = stage.light
    tint = mix(mix(light.middle, light.horizon, 0.3), (30, 70, 130), 0.35)
    lamp = light.lamp
    water = dim(tint, (0.6 + 0.4 * lamp[0], 0.6 + 0.4 * lamp[1], 0.6 + 0.4 * lamp[2]))
    stage.canvas.reflect(shore, water, 0.36)
    _ripples(stage, shore, SIDE, mix(water, light.horizon, 0.5))
    _glints(stage, shore, SIDE)


def _sea(stage: Stage, end: float) -> None:
    light, shore = stage.light, shore_of(stage)
    deep = [
        mix(dim(color, light.lamp), light.middle, 0.22) for color in ((70, 160, 205), (40, 128, 190), (22, 92, 160))
    ]
    deep[0] = mix(deep[0], light.horizon, 0.25)
    stage.canvas.gradient(shore, end, deep)
    foam = mix(mix(dim((120, 190, 225), light.lamp), light.middle, 0.22), light.horizon, 0.3)
    _ripples(stage, shore, end, foam)
    _glints(stage, shore, end)


def _ripples(stage: Stage, shore: float, end: float, color: Color) -> None:
    pattern = stage.pattern("ripples")
    for _ in range(8):
        depth = pattern.random() ** 1.3
        y, x = shore + 8 + (end - shore - 18) * depth, pattern.uniform(-10, 240)
        stage.canvas.line([(x, y), (x + pattern.uniform(18, 36) * (0.6 + depth), y)], 2.4, color)


def _glints(stage: Stage, shore: float, end: float) -> None:
    """The sun's path: bars that grow towards the viewer."""
    if stage.sun is None:
        return
    x, rows = stage.sun[0], 7
    color = mix(stage.light.disc, stage.light.horizon, 0.3)
    for row in range(rows):
        y, half = shore + 6 + row * (end - shore - 6) / rows, (10 + 2.4 * row) * (1.0, 0.72)[row % 2]
        stage.canvas.rounded(x - half, y - 1.8, x + half, y + 1.8, 1.8, color)


def _river(stage: Stage, top: float) -> None:
    bend = stage.side
    color = mix(stage.light.lit((64, 142, 205)), stage.light.horizon, 0.28)
    left, right = [], []
    for row in range(13):
        near = row / 12
        y, x = top + (SIDE - top) * near, 128 + bend * math.sin(near * 4.2) * 34 * (0.4 + near)
        half = 3 + 34 * near * near + 6 * near
        left.append((x - half, y))
        right.append((x + half, y))
    stage.canvas.polygon([*left, *right[::-1]], color)


def _beach(stage: Stage) -> None:
    phase, light = stage.pattern("beach").uniform(0, 6), stage.light
    edge = [(x, BEACH_LINE + 7 * math.sin(x * 0.018 + phase)) for x in range(0, SIDE + 1, 8)]
    floor = [(SIDE, SIDE), (0, SIDE)]
    stage.canvas.polygon([*((x, y - 6) for x, y in edge), *floor], mix(light.lit((250, 250, 250)), light.horizon, 0.1))
    stage.canvas.polygon([*edge, *floor], light.lit((240, 212, 152)))
