"""Draw the ground: mountains, hills, dunes, forests, meadows and cities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .canvas import SIDE, Point
from .objects import draw_city
from .palette import Color, mix
from .plants import draw_pine, draw_treeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .drawing import Drawing

# Near and far grass.
GRASS = (
    ((104, 168, 74), (58, 122, 64)),
    ((132, 180, 70), (78, 138, 62)),
    ((88, 172, 104), (44, 124, 92)),
    ((168, 176, 72), (112, 130, 60)),
)
SNOW = ((236, 241, 248), (206, 220, 236))
# Dunes from far to near.
SAND = (
    ((240, 200, 130), (224, 168, 96), (240, 186, 112), (206, 144, 80)),
    ((244, 206, 160), (226, 160, 110), (238, 180, 128), (198, 120, 82)),
    ((250, 220, 140), (238, 196, 104), (250, 212, 128), (220, 168, 80)),
)
# The least and the greatest height of the mountains of a range, by their number.
HEIGHTS = {1: (96, 128), 2: (72, 112), 3: (56, 104), 4: (48, 88)}


def grass_colors(drawing: Drawing) -> tuple[Color, Color]:
    """Return the colours of near and far grass, or of snow."""
    light = drawing.light
    if drawing.snowy:
        return light.shade_bright(SNOW[0]), light.shade_bright(SNOW[1])
    near, far = GRASS[drawing.scene.seed % len(GRASS)]
    return light.shade(near), light.shade(far)


def draw_land(drawing: Drawing) -> None:
    """Draw the ground of the scene's terrain."""
    _TERRAINS[drawing.scene.terrain](drawing)


def _draw_mountains(drawing: Drawing) -> None:
    _draw_mountain_range(drawing)
    near, far = grass_colors(drawing)
    if drawing.scene.water == "lake":
        _draw_shore(drawing, far)
    else:
        _draw_ridges(drawing, drawing.horizon + 8, [far, mix(near, drawing.light.horizon, 0.1), near], 10)


def _draw_hills(drawing: Drawing) -> None:
    near, far = grass_colors(drawing)
    hazy = mix(far, drawing.light.horizon, 0.42)
    swing = drawing.rng.choice((14, 20, 26))
    if drawing.scene.water == "lake":
        _draw_ridges(drawing, drawing.horizon - 14, [hazy], swing)
        _draw_ridges(drawing, drawing.horizon + 6, [mix(far, near, 0.3)], 8)
    else:
        _draw_ridges(drawing, drawing.horizon, [hazy, mix(far, near, 0.4), near, far], swing)


def _draw_desert(drawing: Drawing) -> None:
    light = drawing.light
    sand = [mix(light.shade(color), light.shade_bright(color), 0.35) for color in drawing.rng.choice(SAND)]
    if drawing.rng.random() < 0.4:
        _draw_mesas(drawing, mix(light.shade((176, 92, 62)), light.horizon, 0.25))
    _draw_ridges(drawing, drawing.horizon, [mix(sand[0], light.horizon, 0.2), *sand[1:]], 22)


def _draw_mesas(drawing: Drawing, color: Color) -> None:
    """Draw one or two table mountains on the horizon."""
    for _ in range(drawing.rng.choice((1, 2))):
        x, half, height = drawing.snapped(24, 232), drawing.snapped(24, 48), drawing.snapped(24, 40)
        base, top = drawing.horizon + 8, drawing.horizon - height
        outline = [(x - half, top), (x + half, top), (x + half + 8, top + height * 0.5), (x + half + 24, base)]
        drawing.canvas.polygon([*outline, (x - half - 24, base), (x - half - 8, top + height * 0.5)], color)
        shadow = [(x + half, top), (x + half + 8, top + height * 0.5), (x + half + 24, base), (x + half * 0.5, base)]
        drawing.canvas.polygon([*shadow, (x + half * 0.4, top)], mix(color, (40, 10, 40), 0.22))


def _draw_meadow(drawing: Drawing) -> None:
    near, far = grass_colors(drawing)
    hazy = mix(far, drawing.light.horizon, 0.3)
    if drawing.rng.random() < 0.4:
        draw_treeline(drawing, drawing.horizon + 4, mix(far, drawing.light.horizon, 0.2))
    _draw_ridges(drawing, drawing.horizon, [hazy, near] if drawing.rng.random() < 0.5 else [near], 9)


def _draw_sea(drawing: Drawing) -> None:
    """Draw a far coast, or nothing: `water` draws the sea and the beach."""
    if drawing.rng.random() < 0.35:
        x, half, height = drawing.snapped(16, 240), drawing.snapped(48, 96), drawing.snapped(16, 32)
        rock = mix(drawing.light.rock, drawing.light.horizon, 0.35)
        hump = [(x + half * math.cos(turn), drawing.horizon + 1 - height * math.sin(turn)) for turn in _TURNS]
        drawing.canvas.polygon(hump, rock)


_TURNS = [step * math.pi / 12 for step in range(13)]


def _draw_forest(drawing: Drawing) -> None:
    light, rng = drawing.light, drawing.rng
    near, far = grass_colors(drawing)
    floor = [mix(far, light.horizon, 0.3), near]
    green = light.shade(rng.choice(((28, 92, 66), (34, 104, 58), (24, 88, 84), (58, 104, 56))))
    draw_treeline(drawing, drawing.horizon + 6, mix(green, light.horizon, 0.55), tall=rng.choice((56, 72, 88)))
    _draw_ridges(drawing, drawing.horizon + 8, floor[:1], 4)
    _draw_row(drawing, drawing.horizon + 16, rng.choice((5, 6, 7)), 2.0, mix(green, light.horizon, 0.28))
    if drawing.scene.water == "none":
        _draw_ridges(drawing, drawing.horizon + 40, floor[1:], 6)
        _draw_row(drawing, 216, rng.choice((2, 3, 4)), 3.0, mix(green, light.horizon, 0.08))
        _draw_row(drawing, 250, rng.choice((1, 2)), 4.0, mix(green, (0, 10, 20), 0.12))
    else:
        _draw_row(drawing, drawing.horizon + 28, rng.choice((3, 4)), 2.6, mix(green, light.horizon, 0.06))


def _draw_row(drawing: Drawing, y: float, count: int, size: float, green: Color) -> None:
    """Draw a row of pines that leaves uneven gaps."""
    pitch = SIDE / count
    for place in range(count):
        x = (place + 0.5) * pitch + drawing.snapped(-pitch * 0.3, pitch * 0.3)
        draw_pine(drawing, x - x % 8, y, size * drawing.rng.choice((0.85, 1.0, 1.15)), green)


_TERRAINS = {
    "mountains": _draw_mountains, "hills": _draw_hills, "desert": _draw_desert, "beach": _draw_sea,
    "sea": _draw_sea, "forest": _draw_forest, "meadow": _draw_meadow, "city": draw_city,
}  # fmt: skip


def _draw_mountain_range(drawing: Drawing) -> None:
    """Draw a pale range, and before it one to four mountains with snow."""
    rng, light = drawing.rng, drawing.light
    _draw_far_range(drawing, mix(mix(light.rock, light.horizon, 0.55), light.horizon, light.haze))
    count, slope = rng.choice((1, 2, 2, 3, 3, 4)), rng.choice((0.8, 1.0, 1.25))
    pitch, peaks = SIDE / count, []
    for place in range(count):
        x = (place + 0.5) * pitch + drawing.snapped(-0.3 * pitch, 0.3 * pitch)
        peaks.append((drawing.snapped(HEIGHTS[count][0], min(HEIGHTS[count][1], drawing.horizon - 48)), x - x % 8))
    rock = mix(mix(light.rock, light.horizon, 0.08), light.horizon, light.haze)
    for height, x in sorted(peaks, reverse=True):
        _draw_peak(drawing, x, height, (height + 24) * slope, rock)


def _draw_far_range(drawing: Drawing, color: Color) -> None:
    """Draw the outline of a far range: peaks and saddles in turns."""
    count, base = drawing.rng.choice((3, 4, 5)), drawing.horizon + 24
    edge: list[Point] = [(0, base - drawing.snapped(40, 64))]
    for place in range(count):
        x = (place + 0.5) * SIDE / count
        edge.append((x - x % 8, base - drawing.snapped(72, 104)))
        edge.append((x + SIDE / count / 2, base - drawing.snapped(40, 64)))
    drawing.canvas.polygon([*edge, (SIDE, base), (0, base)], color)


def _draw_peak(drawing: Drawing, x: float, height: float, width: float, rock: Color) -> None:
    """Draw a mountain with a light and a dark face, and snow on both."""
    base, top, side = drawing.horizon + 24, drawing.horizon - height, drawing.side
    light = mix(rock, mix(drawing.light.horizon, (255, 255, 255), 0.2), 0.26)
    dark = mix(rock, (10, 10, 30), 0.16)
    ridge: list[Point] = [
        (x, top),
        (x - side * width * 0.10, top + height * 0.36),
        (x + side * width * 0.04, top + height * 0.62),
        (x - side * width * 0.16, base),
    ]
    drawing.canvas.polygon([(x, top), (x + width, base), (x - width, base)], dark)
    drawing.canvas.polygon([*ridge, (x + side * width, base)], light)
    _draw_cap(drawing, (x, top), ridge[1], (height + 24, width), rock)


def _draw_cap(drawing: Drawing, peak: Point, middle: Point, size: tuple[float, float], rock: Color) -> None:
    """Draw snow down to a jagged line; `middle` is on the ridge between the faces."""
    x, top = peak
    white = mix(drawing.light.shade_bright((250, 250, 255)), drawing.light.horizon, 0.10)
    share = 0.52 if drawing.snowy else 0.38
    for face in (drawing.side, -drawing.side):
        edge = [(share, share), (0.5 * share, 0.66 * share), (0.36 * share, 1.1 * share), (0.1 * share, 0.7 * share)]
        low = [(x + face * across * size[1], top + down * size[0]) for across, down in edge]
        color = white if face == drawing.side else mix(white, rock, 0.4)
        drawing.canvas.polygon([peak, *low, middle], color)


def _draw_ridges(drawing: Drawing, top: float, colors: Sequence[Color], swing: float) -> None:
    """Draw waves of ground, one per colour, from far to near."""
    rng = drawing.rng
    for row, color in enumerate(colors):
        y = top + row * (SIDE - top) / len(colors) * 0.9
        phase, other, pitch = rng.uniform(0, 6.3), rng.uniform(0, 6.3), rng.uniform(0.012, 0.026)
        reach = swing * (1 - 0.2 * row)
        edge = [
            (x, y - reach * (0.6 + 0.6 * math.sin(pitch * x + phase) + 0.25 * math.sin(2.1 * pitch * x + other)))
            for x in range(0, SIDE + 1, 8)
        ]
        drawing.canvas.polygon([*edge, (SIDE, SIDE), (0, SIDE)], color)


def _draw_shore(drawing: Drawing, color: Color) -> None:
    """Draw the far side of a lake: a dark line of grass, or of woods."""
    woods = color if drawing.snowy else mix(drawing.light.shade((30, 84, 66)), drawing.light.horizon, 0.1)
    top = drawing.horizon + 8
    if drawing.rng.random() < 0.4:
        draw_treeline(drawing, top, woods, tall=24)
        return
    phase = drawing.rng.uniform(0, 6.3)
    edge = [(x, top - 10 - 4 * math.sin(x * 0.04 + phase)) for x in range(0, SIDE + 1, 8)]
    drawing.canvas.polygon([*edge, (SIDE, top), (0, top)], woods)
