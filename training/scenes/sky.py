"""The sky: its gradient, stars, moon, sun and clouds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .palette import WHITE, Color, dim, mix

if TYPE_CHECKING:
    from .drawing import Stage

LOW_SUN = ("sunrise", "sunset")
CLOUDS = {"cloudy": 5, "rainy": 6, "snowy": 3}
CLOUD_DARKNESS = {"rainy": 0.55, "snowy": 0.2}
PUFFS = ((-20, 15, 9), (0, 19, 15), (19, 16, 10), (34, 11, 6))


def draw_sky(stage: Stage) -> None:
    """Everything above the horizon, from the gradient to the clouds."""
    light = stage.light
    stops = [light.top, mix(light.top, light.middle, 0.5), light.middle, light.horizon]
    stage.canvas.gradient(0, stage.horizon + 8, stops)
    if stage.has("stars"):
        _stars(stage)
    if stage.has("moon"):
        _moon(stage)
    if stage.scene.time in LOW_SUN and stage.scene.weather in ("clear", "cloudy", "snowy"):
        _low_sun(stage)
    elif stage.has("sun"):
        _high_sun(stage)
    _clouds(stage)


def _stars(stage: Stage) -> None:
    pattern = stage.pattern("stars")
    color = mix((255, 255, 240), stage.light.middle, 0.1)
    for _ in range(16 if stage.scene.time == "night" else 8):
        x, y, radius = pattern.uniform(8, 248), pattern.uniform(8, 108), pattern.choice((2.8, 3.6, 4.6))
        _sparkle(stage, x, y, radius, color)


def _sparkle(stage: Stage, x: float, y: float, radius: float, color: Color) -> None:
    waist = radius * 0.34
    stage.canvas.polygon(
        [(x, y - radius), (x + waist, y - waist), (x + radius, y), (x + waist, y + waist), (x, y + radius),
         (x - waist, y + waist), (x - radius, y), (x - waist, y - waist)],
        color,
    )  # fmt: skip


def _moon(stage: Stage) -> None:
    chance, canvas, light = stage.chance, stage.canvas, stage.light
    x, y, radius = chance.choice((66, 128, 190)) + chance.uniform(-6, 6), chance.uniform(36, 52), 17
    canvas.glow(x, y, 62, light.disc, 0.45)
    canvas.ellipse(x, y, radius, radius, light.disc)
    if chance.random() < 0.3:
        canvas.ellipse(x + 9, y - 4, radius * 0.86, radius * 0.86, mix(light.top, light.middle, 0.45))


def _low_sun(stage: Stage) -> None:
    chance, canvas, light = stage.chance, stage.canvas, stage.light
    lifted = 22 if stage.scene.terrain in ("mountains", "forest", "city") else 0
    x = chance.choice((84, 128, 172)) + chance.uniform(-8, 8)
    y = stage.horizon - chance.uniform(20, 40) - lifted
    canvas.glow(x, y, 105, mix(light.horizon, (255, 255, 220), 0.4), 0.8)
    canvas.ellipse(x, y, 20, 20, light.disc)
    stage.sun = (x, y)


def _high_sun(stage: Stage) -> None:
    chance, canvas = stage.chance, stage.canvas
    x, y = chance.choice((52, 204)) + chance.uniform(-8, 8), chance.uniform(40, 52)
    canvas.glow(x, y, 64, (255, 252, 214), 0.8)
    canvas.ellipse(x, y, 19, 19, (255, 226, 90))


def _clouds(stage: Stage) -> None:
    scene = stage.scene
    count = CLOUDS.get(scene.weather, 0)
    if scene.weather == "clear" and scene.time == "day":
        count = stage.chance.choice((0, 2, 3))
    pattern, color = stage.pattern("clouds"), _cloud_color(stage)
    for _ in range(count):
        _cloud(stage, pattern.uniform(20, 236), pattern.uniform(26, 76), pattern.uniform(0.9, 1.4), color)


def _cloud_color(stage: Stage) -> Color:
    light = stage.light
    pale = mix(mix(WHITE, light.horizon, 0.35), (70, 76, 96), CLOUD_DARKNESS.get(stage.scene.weather, 0.0))
    lamp = light.lamp
    return dim(pale, (0.4 + 0.6 * lamp[0], 0.4 + 0.6 * lamp[1], 0.4 + 0.6 * lamp[2]))


def _cloud(stage: Stage, x: float, y: float, scale: float, color: Color) -> None:
    for shift, rx, ry in PUFFS:
        stage.canvas.ellipse(x + shift * scale, y - ry * scale * 0.6, rx * scale, ry * scale, color)
    stage.canvas.rounded(x - 36 * scale, y - 6 * scale, x + 46 * scale, y + 3 * scale, 5 * scale, color)
