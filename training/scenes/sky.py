"""Draw the sky: its gradient, moon, sun, clouds and stars, and choose where balloons and birds fly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .canvas import SIDE
from .drawing import lighthouse_x, shifted
from .palette import WHITE, Color, dim, mix

if TYPE_CHECKING:
    from .canvas import Canvas, Point
    from .drawing import Drawing

LOW_SUN = ("sunrise", "sunset")
# The least and the most clouds by weather.
CLOUDS = {"cloudy": (3, 5), "rainy": (4, 6), "snowy": (2, 3)}
CLOUD_DARKNESS = {"rainy": 0.55, "snowy": 0.2}
# Sizes of a balloon, whose radius is 25 units and which hangs 45 units below its centre.
BALLOON_SIZES = (1.28, 1.92)
TALL_TERRAIN = ("mountains", "forest", "city")


def draw_sky(drawing: Drawing) -> None:
    """Draw everything above the horizon, from the gradient to the clouds."""
    light = drawing.light
    stops = [light.top, mix(light.top, light.middle, 0.5), light.middle, light.horizon]
    drawing.canvas.gradient(0, drawing.horizon + 8, stops)
    drawing.canvas.rectangle(0, drawing.horizon + 8, SIDE, SIDE, light.horizon)
    _choose_flights(drawing)
    if drawing.has("moon"):
        _draw_moon(drawing)
    if drawing.scene.time in LOW_SUN and drawing.scene.weather in ("clear", "cloudy", "snowy"):
        _draw_low_sun(drawing)
    elif drawing.has("sun"):
        _draw_high_sun(drawing)
    _draw_clouds(drawing)


def _choose_flights(drawing: Drawing) -> None:
    if drawing.has("lighthouse"):
        drawing.spots["lighthouse"] = (lighthouse_x(drawing), 40, 44)
    if drawing.has("balloon"):
        size = drawing.rng.choice(BALLOON_SIZES)
        reach = 27 * size
        x, _ = drawing.claim_sky("balloon", reach, (reach, reach + 4), (SIDE - reach, reach + 28))
        if drawing.scene.terrain in ("beach", "sea"):
            drawing.keep_free(x, 20)
    if drawing.has("birds"):
        drawing.claim_sky("birds", 44, (64, 32), (192, 72))


def draw_stars(drawing: Drawing, bare: Canvas) -> None:
    """Draw stars where the canvas still shows the `bare` sky."""
    color = mix((255, 255, 240), drawing.light.middle, 0.06)
    count = drawing.rng.randint(9, 16) if drawing.scene.time == "night" else drawing.rng.randint(5, 9)
    for x, y in drawing.cells(0, drawing.horizon * (0.45 if drawing.scene.terrain == "city" else 0.88)):
        if count and drawing.sky_room((x, y)) > 14 and _is_bare(drawing.canvas, bare, x, y):
            count -= 1
            drawing.spots[f"star {count}"] = (x, y, 4)
            _draw_star(drawing, x, y, drawing.rng.choice((2.6, 2.6, 3.2, 6, 7.5)), color)


def _is_bare(canvas: Canvas, bare: Canvas, x: float, y: float) -> bool:
    corners = [(x, y), (x - 8, y + 7.5), (x + 7.5, y + 7.5)]
    return all(canvas.color_at(*corner) == bare.color_at(*corner) for corner in corners)


def _draw_star(drawing: Drawing, x: float, y: float, radius: float, color: Color) -> None:
    """Draw a disc, or a sparkle if the radius is large."""
    if radius < 4:
        drawing.canvas.ellipse(x, y, radius, radius, color)
        return
    waist = radius * 0.28
    drawing.canvas.polygon(
        [(x, y - radius), (x + waist, y - waist), (x + radius, y), (x + waist, y + waist), (x, y + radius),
         (x - waist, y + waist), (x - radius, y), (x - waist, y - waist)],
        color,
    )  # fmt: skip


def _draw_moon(drawing: Drawing) -> None:
    rng, canvas, light = drawing.rng, drawing.canvas, drawing.light
    radius = rng.choice((16, 24))
    x, y = drawing.claim_sky("moon", radius + 8, (40, radius + 12), (216, 48))
    canvas.glow(x, y, 3.4 * radius, light.disc, 0.4)
    if drawing.scene.objects["moon"] == "crescent":
        canvas.polygon(shifted(_crescent(), x, y, radius, drawing.side), light.disc)
        return
    canvas.ellipse(x, y, radius, radius, light.disc)
    gray = mix(light.disc, light.middle, 0.2)
    for dx, dy, share in ((-0.35, -0.25, 0.26), (0.35, 0.3, 0.3)):
        canvas.ellipse(x + dx * radius, y + dy * radius, share * radius, share * radius, gray)


def _crescent(depth: float = 0.45, radius: float = 0.8) -> list[Point]:
    """Return a disc of radius 1 without the disc of `radius` whose centre is `depth` to the right, tilted."""
    tip = math.acos((1 + depth * depth - radius * radius) / (2 * depth))
    inner = math.atan2(math.sin(tip), math.cos(tip) - depth)
    outer = [(math.cos(turn), math.sin(turn)) for turn in _turns(tip, math.tau - tip)]
    hollow = [(depth + radius * math.cos(turn), radius * math.sin(turn)) for turn in _turns(math.tau - inner, inner)]
    return [(x * 0.92 + y * 0.39, y * 0.92 - x * 0.39) for x, y in (*outer, *hollow)]


def _turns(first: float, last: float, steps: int = 24) -> list[float]:
    return [first + (last - first) * step / steps for step in range(steps + 1)]


def _draw_low_sun(drawing: Drawing) -> None:
    rng, canvas, light = drawing.rng, drawing.canvas, drawing.light
    lifted = 40 if drawing.scene.terrain in TALL_TERRAIN else 0
    radius = rng.choice((16, 24, 32))
    x, y = drawing.claim_sky(
        "sun", radius, (48, drawing.horizon - 40 - lifted), (208, drawing.horizon - (8 if not lifted else 56))
    )
    canvas.glow(x, y, 3.6 * radius + 24, mix(light.horizon, (255, 255, 220), 0.4), 0.75)
    canvas.ellipse(x, y, radius, radius, light.disc)
    drawing.sun = (x, y)
    drawing.keep_free(x, radius)


def _draw_high_sun(drawing: Drawing) -> None:
    radius = drawing.rng.choice((16, 24))
    x, y = drawing.claim_sky("sun", radius + 8, (32, radius + 8), (224, 56))
    drawing.canvas.glow(x, y, 3 * radius, (255, 252, 214), 0.75)
    drawing.canvas.ellipse(x, y, radius, radius, (255, 224, 84))


def _draw_clouds(drawing: Drawing) -> None:
    scene, rng = drawing.scene, drawing.rng
    count = rng.randint(*CLOUDS[scene.weather]) if scene.weather in CLOUDS else 0
    if scene.weather == "clear" and scene.time in ("day", "sunrise"):
        count = rng.choice((0, 1, 2, 3))
    color, flat = _cloud_color(drawing), rng.random() < 0.35
    for number in range(count):
        scale = rng.choice((0.9, 1.2, 1.6))
        x, y = drawing.claim_sky(f"cloud {number}", 30 * scale, (16, 32), (240, max(40.0, drawing.horizon - 56)))
        (_draw_streak if flat else _draw_cloud)(drawing, x, y, scale, color)


def _cloud_color(drawing: Drawing) -> Color:
    light = drawing.light
    pale = mix(mix(WHITE, light.horizon, 0.3), (70, 76, 96), CLOUD_DARKNESS.get(drawing.scene.weather, 0.0))
    lamp = light.lamp
    return dim(pale, (0.4 + 0.6 * lamp[0], 0.4 + 0.6 * lamp[1], 0.4 + 0.6 * lamp[2]))


def _draw_cloud(drawing: Drawing, x: float, y: float, scale: float, color: Color) -> None:
    """Draw a cloud with a flat base: a row of puffs, the largest near the middle."""
    rng, canvas = drawing.rng, drawing.canvas
    puffs = rng.choice((2, 3, 4))
    half = (10 + 9 * puffs) * scale
    canvas.rounded_rect(x - half - 8 * scale, y - 10 * scale, x + half + 8 * scale, y, 5 * scale, color)
    for place in range(puffs):
        middle = 1 - abs((place + 0.5) / puffs - 0.5)
        radius = (9 + 11 * middle * rng.uniform(0.6, 1.1)) * scale
        cx = x - half + (place + 0.5) * 2 * half / puffs
        canvas.ellipse(cx, y - max(radius * 0.8, 9 * scale), radius * 1.15, radius, color)
        canvas.rectangle(cx - radius * 0.9, y - radius * 0.8, cx + radius * 0.9, y - scale, color)


def _draw_streak(drawing: Drawing, x: float, y: float, scale: float, color: Color) -> None:
    """Draw a long cloud of two or three rounded bars."""
    for row in range(drawing.rng.choice((2, 3))):
        half, drift = drawing.rng.choice((24, 36, 48)) * scale, drawing.rng.choice((-16, 0, 16)) * scale
        top = y - row * 8 * scale
        left, right = x + drift - half, x + drift + half
        drawing.canvas.rounded_rect(left, top - 9 * scale, min(right, SIDE + 40), top, 4.5 * scale, color)
