"""Draw the sky: its gradient, stars, moon, sun and clouds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .palette import WHITE, Color, dim, mix

if TYPE_CHECKING:
    from .drawing import Drawing

LOW_SUN = ("sunrise", "sunset")
# Number of clouds by weather.
CLOUDS = {"cloudy": 5, "rainy": 6, "snowy": 3}
CLOUD_DARKNESS = {"rainy": 0.55, "snowy": 0.2}
# Offset and half axes of each ellipse of a cloud.
PUFFS = ((-20, 15, 9), (0, 19, 15), (19, 16, 10), (34, 11, 6))


def draw_sky(drawing: Drawing) -> None:
    """Draw everything above the horizon, from the gradient to the clouds."""
    light = drawing.light
    stops = [light.top, mix(light.top, light.middle, 0.5), light.middle, light.horizon]
    drawing.canvas.gradient(0, drawing.horizon + 8, stops)
    if drawing.has("stars"):
        _draw_stars(drawing)
    if drawing.has("moon"):
        _draw_moon(drawing)
    if drawing.scene.time in LOW_SUN and drawing.scene.weather in ("clear", "cloudy", "snowy"):
        _draw_low_sun(drawing)
    elif drawing.has("sun"):
        _draw_high_sun(drawing)
    _draw_clouds(drawing)


def _draw_stars(drawing: Drawing) -> None:
    layout = drawing.layout("stars")
    color = mix((255, 255, 240), drawing.light.middle, 0.1)
    for _ in range(16 if drawing.scene.time == "night" else 8):
        x, y, radius = layout.uniform(8, 248), layout.uniform(8, 108), layout.choice((2.8, 3.6, 4.6))
        _draw_sparkle(drawing, x, y, radius, color)


def _draw_sparkle(drawing: Drawing, x: float, y: float, radius: float, color: Color) -> None:
    waist = radius * 0.34
    drawing.canvas.polygon(
        [(x, y - radius), (x + waist, y - waist), (x + radius, y), (x + waist, y + waist), (x, y + radius),
         (x - waist, y + waist), (x - radius, y), (x - waist, y - waist)],
        color,
    )  # fmt: skip


def _draw_moon(drawing: Drawing) -> None:
    rng, canvas, light = drawing.rng, drawing.canvas, drawing.light
    x, y, radius = rng.choice((66, 128, 190)) + rng.uniform(-6, 6), rng.uniform(36, 52), 17
    canvas.glow(x, y, 62, light.disc, 0.45)
    canvas.ellipse(x, y, radius, radius, light.disc)
    if drawing.scene.objects["moon"] == "crescent":
        canvas.ellipse(x + 9, y - 4, radius * 0.86, radius * 0.86, mix(light.top, light.middle, 0.45))


def _draw_low_sun(drawing: Drawing) -> None:
    rng, canvas, light = drawing.rng, drawing.canvas, drawing.light
    lifted = 22 if drawing.scene.terrain in ("mountains", "forest", "city") else 0
    x = rng.choice((84, 128, 172)) + rng.uniform(-8, 8)
    y = drawing.horizon - rng.uniform(20, 40) - lifted
    canvas.glow(x, y, 105, mix(light.horizon, (255, 255, 220), 0.4), 0.8)
    canvas.ellipse(x, y, 20, 20, light.disc)
    drawing.sun = (x, y)


def _draw_high_sun(drawing: Drawing) -> None:
    rng, canvas = drawing.rng, drawing.canvas
    x, y = rng.choice((52, 204)) + rng.uniform(-8, 8), rng.uniform(40, 52)
    canvas.glow(x, y, 64, (255, 252, 214), 0.8)
    canvas.ellipse(x, y, 19, 19, (255, 226, 90))


def _draw_clouds(drawing: Drawing) -> None:
    scene = drawing.scene
    count = CLOUDS.get(scene.weather, 0)
    if scene.weather == "clear" and scene.time == "day":
        count = drawing.rng.choice((0, 2, 3))
    layout, color = drawing.layout("clouds"), _cloud_color(drawing)
    for _ in range(count):
        _draw_cloud(drawing, layout.uniform(20, 236), layout.uniform(26, 76), layout.uniform(0.9, 1.4), color)


def _cloud_color(drawing: Drawing) -> Color:
    light = drawing.light
    pale = mix(mix(WHITE, light.horizon, 0.35), (70, 76, 96), CLOUD_DARKNESS.get(drawing.scene.weather, 0.0))
    lamp = light.lamp
    return dim(pale, (0.4 + 0.6 * lamp[0], 0.4 + 0.6 * lamp[1], 0.4 + 0.6 * lamp[2]))


def _draw_cloud(drawing: Drawing, x: float, y: float, scale: float, color: Color) -> None:
    for shift, rx, ry in PUFFS:
        drawing.canvas.ellipse(x + shift * scale, y - ry * scale * 0.6, rx * scale, ry * scale, color)
    drawing.canvas.rounded_rect(x - 36 * scale, y - 6 * scale, x + 46 * scale, y + 3 * scale, 5 * scale, color)
