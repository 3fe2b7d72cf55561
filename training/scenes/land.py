"""The ground: mountains, hills, dunes, forests, meadows and cities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .canvas import SIDE, Point
from .palette import Color, mix
from .plants import draw_pine

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from .drawing import Stage


def grass(stage: Stage) -> tuple[Color, Color]:
    """The colours of near and of far grass, or of snow."""
    if stage.snowy:
        return stage.light.lit((236, 241, 248)), stage.light.lit((206, 220, 236))
    return stage.light.lit((104, 168, 74)), stage.light.lit((58, 122, 64))


def draw_land(stage: Stage) -> None:
    """Everything between sky and water, chosen by the scene's terrain."""
    _TERRAINS[stage.scene.terrain](stage)


def _mountains(stage: Stage) -> None:
    draw_range(stage)
    near, far = grass(stage)
    if stage.scene.water == "lake":
        _shore(stage, far)
    else:
        _ridges(stage, stage.horizon, [mix(near, stage.light.horizon, 0.15), near, far], 7)


def _hills(stage: Stage) -> None:
    near, far = grass(stage)
    hazy = mix(far, stage.light.horizon, 0.35)
    if stage.scene.water == "lake":
        _ridges(stage, stage.horizon - 14, [hazy, mix(near, stage.light.horizon, 0.1)], 14)
    else:
        _ridges(stage, stage.horizon, [hazy, near, far], 17)


def _desert(stage: Stage) -> None:
    sand = [(236, 190, 120), (222, 164, 92), (240, 186, 112), (204, 142, 78)]
    _ridges(stage, stage.horizon, [stage.light.lit(color) for color in sand], 20)


def _meadow(stage: Stage) -> None:
    near, _ = grass(stage)
    _ridges(stage, stage.horizon, [mix(near, stage.light.horizon, 0.25), near], 9)


def _city(stage: Stage) -> None:
    _skyline(stage)
    stage.canvas.rectangle(0, stage.horizon, SIDE, SIDE, stage.light.lit((84, 90, 100)))


def _sea(stage: Stage) -> None:
    """Open water has no ground."""


def _forest(stage: Stage) -> None:
    light = stage.light
    _, far = grass(stage)
    _ridges(stage, stage.horizon, [mix(far, light.horizon, 0.4), far], 8)
    rows = [(10.0, 1.15, 11, 0.40), (30.0, 1.6, 7, 0.12)]
    if stage.scene.water == "none":
        rows = [(10.0, 1.15, 11, 0.40), (44.0, 1.8, 7, 0.16), (SIDE - stage.horizon, 2.5, 5, 0.0)]
    pattern = stage.pattern("forest")
    for depth, size, count, haze in rows:
        green = mix(light.lit((28, 92, 66)), light.horizon, haze)
        for place in range(count):
            x = (place + 0.5) * SIDE / count + pattern.uniform(-6, 6)
            draw_pine(stage, x, stage.horizon + depth, size * pattern.uniform(0.9, 1.15), green)


_TERRAINS = {
    "mountains": _mountains, "hills": _hills, "desert": _desert, "beach": _sea,
    "sea": _sea, "forest": _forest, "meadow": _meadow, "city": _city,
}  # fmt: skip


def draw_range(stage: Stage) -> None:
    """A pale range of mountains, and a nearer one with snow on it."""
    pattern, light = stage.pattern("range"), stage.light
    mirrored = stage.chance.random() < 0.5
    for near, peaks in ((False, 3), (True, 3)):
        rock = mix(mix(light.rock, light.horizon, 0.10 if near else 0.48), light.horizon, light.haze)
        made = []
        for place in range(peaks):
            x = (place + (0.5 if near else 0.2)) * SIDE / (peaks - 0.4) + pattern.uniform(-18, 18)
            made.append((pattern.uniform(48, 92) if near else pattern.uniform(70, 104), SIDE - x if mirrored else x))
        for height, x in sorted(made, reverse=True):
            _peak(stage, x, height, height * 1.08, rock, snow=near)


def _peak(stage: Stage, x: float, height: float, width: float, rock: Color, *, snow: bool) -> None:
    """One mountain with a light and a dark face; the ridge between them leans to the right."""
    base, top = stage.horizon + 1, stage.horizon - height
    light = mix(rock, mix(stage.light.horizon, (255, 255, 255), 0.2), 0.24)
    dark = mix(rock, (10, 10, 30), 0.14)
    ridge = (x + width * 0.14, base)
    stage.canvas.polygon([(x, top), (x + width, base), (x - width, base)], dark)
    stage.canvas.polygon([(x, top), _along(x, top, ridge, 0.45, 5), ridge, (x - width, base)], light)
    if snow:
        _cap(stage, (x, top), (x - width, base), ridge, (x + width, base), rock)


def _along(x: float, top: float, foot: Point, share: float, bend: float = 0) -> Point:
    return x + (foot[0] - x) * share + bend, top + (foot[1] - top) * share


def _cap(stage: Stage, peak: Point, left: Point, ridge: Point, right: Point, rock: Color) -> None:
    white = mix(stage.light.lit((250, 250, 255)), stage.light.horizon, 0.12)
    x, top = peak
    middle = _along(x, top, ridge, 0.42, 4)
    left_edge = [_along(x, top, left, 0.34), _along(x, top, left, 0.20, 9)]
    right_edge = [_along(x, top, right, 0.20, -9), _along(x, top, right, 0.34)]
    stage.canvas.polygon([peak, *left_edge, middle], white)
    stage.canvas.polygon([peak, middle, *right_edge], mix(white, rock, 0.36))


def _ridges(stage: Stage, top: float, colors: Sequence[Color], swing: float) -> None:
    """Rolling waves of ground, far to near."""
    pattern = stage.pattern("ridges")
    for row, color in enumerate(colors):
        y = top + row * (SIDE - top) / len(colors) * 0.9
        phase, other, pitch = pattern.uniform(0, 6.3), pattern.uniform(0, 6.3), pattern.uniform(0.016, 0.024)
        reach = swing * (1 - 0.25 * row)
        edge = [
            (x, y - reach * (0.6 + 0.6 * math.sin(pitch * x + phase) + 0.25 * math.sin(2.1 * pitch * x + other)))
            for x in range(0, SIDE + 1, 8)
        ]
        stage.canvas.polygon([*edge, (SIDE, SIDE), (0, SIDE)], color)


def _shore(stage: Stage, color: Color) -> None:
    """The dark line of woods on the far side of a lake."""
    woods = color if stage.snowy else mix(stage.light.lit((30, 84, 66)), stage.light.horizon, 0.1)
    pattern, top = stage.pattern("shore"), stage.horizon
    phase = pattern.uniform(0, 6.3)
    edge = [(x, top - 7 - 2.5 * math.sin(x * 0.05 + phase)) for x in range(0, SIDE + 1, 8)]
    stage.canvas.polygon([*edge, (SIDE, top), (0, top)], woods)


def _skyline(stage: Stage) -> None:
    pattern, light, base = stage.pattern("skyline"), stage.light, stage.horizon
    stone = (96, 116, 146) if stage.scene.time == "day" else light.rock
    for near in (False, True):
        color = mix(stone, light.horizon, 0.08 if near else 0.45)
        x = -8.0
        while x < SIDE:
            width, height = pattern.choice((28, 34, 40)), pattern.uniform(34, 84) if near else pattern.uniform(64, 116)
            stage.canvas.rectangle(x, base - height, x + width, base + 1, color)
            if near:
                _windows(stage, pattern, x, width, height, color)
            x += width + (4 if near else -2)


def _windows(stage: Stage, pattern: random.Random, x: float, width: float, height: float, wall: Color) -> None:
    glowing = stage.scene.time in ("night", "dusk", "sunset")
    glass = (255, 214, 120) if glowing else mix(wall, (220, 236, 248), 0.55)
    for top in range(8, int(height) - 12, 16):
        for left in range(5, int(width) - 6, 11):
            if pattern.random() < (0.6 if glowing else 0.9):
                y = stage.horizon - height + top
                stage.canvas.rectangle(x + left, y, x + left + 6, y + 9, glass)
