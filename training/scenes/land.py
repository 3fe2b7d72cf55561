"""Draw the ground: mountains, hills, dunes, forests, meadows and cities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .canvas import SIDE, Point
from .objects import draw_pine
from .palette import Color, mix

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from .drawing import Drawing


def grass_colors(drawing: Drawing) -> tuple[Color, Color]:
    """Return the colours of near and far grass, or of snow."""
    if drawing.snowy:
        return drawing.light.shade((236, 241, 248)), drawing.light.shade((206, 220, 236))
    return drawing.light.shade((104, 168, 74)), drawing.light.shade((58, 122, 64))


def draw_land(drawing: Drawing) -> None:
    """Draw the ground of the scene's terrain."""
    _TERRAINS[drawing.scene.terrain](drawing)


def _draw_mountains(drawing: Drawing) -> None:
    _draw_mountain_range(drawing)
    near, far = grass_colors(drawing)
    if drawing.scene.water == "lake":
        _draw_shore(drawing, far)
    else:
        _draw_ridges(drawing, drawing.horizon, [mix(near, drawing.light.horizon, 0.15), near, far], 7)


def _draw_hills(drawing: Drawing) -> None:
    near, far = grass_colors(drawing)
    hazy = mix(far, drawing.light.horizon, 0.35)
    if drawing.scene.water == "lake":
        _draw_ridges(drawing, drawing.horizon - 14, [hazy, mix(near, drawing.light.horizon, 0.1)], 14)
    else:
        _draw_ridges(drawing, drawing.horizon, [hazy, near, far], 17)


def _draw_desert(drawing: Drawing) -> None:
    sand = [(236, 190, 120), (222, 164, 92), (240, 186, 112), (204, 142, 78)]
    _draw_ridges(drawing, drawing.horizon, [drawing.light.shade(color) for color in sand], 20)


def _draw_meadow(drawing: Drawing) -> None:
    near, _ = grass_colors(drawing)
    _draw_ridges(drawing, drawing.horizon, [mix(near, drawing.light.horizon, 0.25), near], 9)


def _draw_city(drawing: Drawing) -> None:
    _draw_skyline(drawing)
    drawing.canvas.rectangle(0, drawing.horizon, SIDE, SIDE, drawing.light.shade((84, 90, 100)))


def _draw_sea(drawing: Drawing) -> None:
    """Draw nothing: open water has no ground, and `water` draws the beach."""


def _draw_forest(drawing: Drawing) -> None:
    light = drawing.light
    _, far = grass_colors(drawing)
    _draw_ridges(drawing, drawing.horizon, [mix(far, light.horizon, 0.4), far], 8)
    rows = [(10.0, 1.15, 11, 0.40), (30.0, 1.6, 7, 0.12)]
    if drawing.scene.water == "none":
        rows = [(10.0, 1.15, 11, 0.40), (44.0, 1.8, 7, 0.16), (SIDE - drawing.horizon, 2.5, 5, 0.0)]
    layout = drawing.layout("forest")
    for depth, size, count, haze in rows:
        green = mix(light.shade((28, 92, 66)), light.horizon, haze)
        for place in range(count):
            x = (place + 0.5) * SIDE / count + layout.uniform(-6, 6)
            draw_pine(drawing, x, drawing.horizon + depth, size * layout.uniform(0.9, 1.15), green)


_TERRAINS = {
    "mountains": _draw_mountains, "hills": _draw_hills, "desert": _draw_desert, "beach": _draw_sea,
    "sea": _draw_sea, "forest": _draw_forest, "meadow": _draw_meadow, "city": _draw_city,
}  # fmt: skip


def _draw_mountain_range(drawing: Drawing) -> None:
    """Draw a pale mountain range, and a nearer one with snow."""
    layout, light = drawing.layout("range"), drawing.light
    mirrored = drawing.rng.random() < 0.5
    for near, peaks in ((False, 3), (True, 3)):
        rock = mix(mix(light.rock, light.horizon, 0.10 if near else 0.48), light.horizon, light.haze)
        made = []
        for place in range(peaks):
            x = (place + (0.5 if near else 0.2)) * SIDE / (peaks - 0.4) + layout.uniform(-18, 18)
            made.append((layout.uniform(48, 92) if near else layout.uniform(70, 104), SIDE - x if mirrored else x))
        for height, x in sorted(made, reverse=True):
            _draw_peak(drawing, x, height, height * 1.08, rock, snow=near)


def _draw_peak(drawing: Drawing, x: float, height: float, width: float, rock: Color, *, snow: bool) -> None:
    """Draw a mountain with a light and a dark face; the ridge between them leans to the right."""
    base, top = drawing.horizon + 1, drawing.horizon - height
    light = mix(rock, mix(drawing.light.horizon, (255, 255, 255), 0.2), 0.24)
    dark = mix(rock, (10, 10, 30), 0.14)
    ridge = (x + width * 0.14, base)
    drawing.canvas.polygon([(x, top), (x + width, base), (x - width, base)], dark)
    drawing.canvas.polygon([(x, top), _along(x, top, ridge, 0.45, 5), ridge, (x - width, base)], light)
    if snow:
        _draw_cap(drawing, (x, top), (x - width, base), ridge, (x + width, base), rock)


def _along(x: float, top: float, foot: Point, share: float, bend: float = 0) -> Point:
    return x + (foot[0] - x) * share + bend, top + (foot[1] - top) * share


def _draw_cap(drawing: Drawing, peak: Point, left: Point, ridge: Point, right: Point, rock: Color) -> None:
    white = mix(drawing.light.shade((250, 250, 255)), drawing.light.horizon, 0.12)
    x, top = peak
    middle = _along(x, top, ridge, 0.42, 4)
    left_edge = [_along(x, top, left, 0.34), _along(x, top, left, 0.20, 9)]
    right_edge = [_along(x, top, right, 0.20, -9), _along(x, top, right, 0.34)]
    drawing.canvas.polygon([peak, *left_edge, middle], white)
    drawing.canvas.polygon([peak, middle, *right_edge], mix(white, rock, 0.36))


def _draw_ridges(drawing: Drawing, top: float, colors: Sequence[Color], swing: float) -> None:
    """Draw waves of ground, one per colour, from far to near."""
    layout = drawing.layout("ridges")
    for row, color in enumerate(colors):
        y = top + row * (SIDE - top) / len(colors) * 0.9
        phase, other, pitch = layout.uniform(0, 6.3), layout.uniform(0, 6.3), layout.uniform(0.016, 0.024)
        reach = swing * (1 - 0.25 * row)
        edge = [
            (x, y - reach * (0.6 + 0.6 * math.sin(pitch * x + phase) + 0.25 * math.sin(2.1 * pitch * x + other)))
            for x in range(0, SIDE + 1, 8)
        ]
        drawing.canvas.polygon([*edge, (SIDE, SIDE), (0, SIDE)], color)


def _draw_shore(drawing: Drawing, color: Color) -> None:
    """Draw the dark line of woods on the far side of a lake."""
    woods = color if drawing.snowy else mix(drawing.light.shade((30, 84, 66)), drawing.light.horizon, 0.1)
    layout, top = drawing.layout("shore"), drawing.horizon
    phase = layout.uniform(0, 6.3)
    edge = [(x, top - 7 - 2.5 * math.sin(x * 0.05 + phase)) for x in range(0, SIDE + 1, 8)]
    drawing.canvas.polygon([*edge, (SIDE, top), (0, top)], woods)


def _draw_skyline(drawing: Drawing) -> None:
    layout, light, base = drawing.layout("skyline"), drawing.light, drawing.horizon
    stone = (96, 116, 146) if drawing.scene.time == "day" else light.rock
    for near in (False, True):
        color = mix(stone, light.horizon, 0.08 if near else 0.45)
        x = -8.0
        while x < SIDE:
            width, height = layout.choice((28, 34, 40)), layout.uniform(34, 84) if near else layout.uniform(64, 116)
            drawing.canvas.rectangle(x, base - height, x + width, base + 1, color)
            if near:
                _draw_windows(drawing, layout, x, width, height, color)
            x += width + (4 if near else -2)


def _draw_windows(drawing: Drawing, layout: random.Random, x: float, width: float, height: float, wall: Color) -> None:
    glowing = drawing.scene.time in ("night", "dusk", "sunset")
    glass = (255, 214, 120) if glowing else mix(wall, (220, 236, 248), 0.55)
    for top in range(8, int(height) - 12, 16):
        for left in range(5, int(width) - 6, 11):
            if layout.random() < (0.6 if glowing else 0.9):
                y = drawing.horizon - height + top
                drawing.canvas.rectangle(x + left, y, x + left + 6, y + 9, glass)
