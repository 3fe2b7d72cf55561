"""Render an image from its spec: the same spec gives the same bytes with the same version of Pillow.

A landscape is drawn from back to front: sky, ground, water, objects, weather.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .canvas import SIDE
from .drawing import Drawing
from .land import draw_land, grass_colors
from .objects import (
    draw_balloon,
    draw_birds,
    draw_cactus,
    draw_car,
    draw_flowers,
    draw_house,
    draw_lighthouse,
    draw_palm,
    draw_pine,
    draw_sailboat,
    draw_tree,
)
from .palette import WHITE, mix
from .shapes import draw_shapes
from .sky import draw_sky
from .spec import ShapesSpec
from .water import draw_water, shore_y

if TYPE_CHECKING:
    from PIL import Image

    from .spec import SceneSpec, Spec

MIDDLE = SIDE / 2


def render(content: Spec) -> Image.Image:
    """Render a `ShapesSpec` or a `SceneSpec`: RGB, 256 by 256."""
    if isinstance(content, ShapesSpec):
        return draw_shapes(content)
    return draw_scene(content)


def draw_scene(scene: SceneSpec) -> Image.Image:
    """Render a landscape: RGB, 256 by 256."""
    drawing = Drawing(scene)
    draw_sky(drawing)
    draw_land(drawing)
    draw_water(drawing)
    if scene.terrain == "meadow" and not drawing.snowy:
        draw_flowers(drawing)
    if scene.water == "lake" and (drawing.has("house") or drawing.has("pine trees")):
        _draw_near_shore(drawing)
    for name, place in _PLACES.items():
        if drawing.has(name):
            place(drawing)
    _draw_weather(drawing)
    return drawing.canvas.to_image()


def _draw_near_shore(drawing: Drawing) -> None:
    side, green = drawing.side, grass_colors(drawing)[0]
    edge = [(-150, 222), (-60, 226), (20, 250), (30, 256), (-150, 256)]
    drawing.canvas.polygon([(MIDDLE + side * dx, y) for dx, y in edge], green)


def _place_pines(drawing: Drawing) -> None:
    for place in range(3):
        x = MIDDLE - drawing.side * (110 - place * 30)
        draw_pine(drawing, x, 238 + place * 6, 1.9 - 0.25 * place)


def _place_tree(drawing: Drawing) -> None:
    draw_tree(drawing, MIDDLE + drawing.side * drawing.rng.uniform(44, 72), 224, 2)


def _place_house(drawing: Drawing) -> None:
    color, drift = drawing.scene.objects["house"], drawing.rng.uniform(-6, 6)
    if drawing.scene.water == "lake":
        draw_house(drawing, MIDDLE - drawing.side * (60 + drift), 244, 1.4, color)
    else:
        draw_house(drawing, MIDDLE + drawing.side * (58 + drift), 218, 1.9, color)


def _place_cactus(drawing: Drawing) -> None:
    draw_cactus(drawing, MIDDLE + drawing.side * drawing.rng.uniform(40, 84), 216 + drawing.rng.uniform(-6, 10), 1.6)
    if drawing.rng.random() < 0.4:
        draw_cactus(drawing, MIDDLE - drawing.side * 60, 232, 1.8)


def _place_car(drawing: Drawing) -> None:
    draw_car(drawing, MIDDLE + drawing.rng.uniform(-36, 36), 230, 1.5, drawing.scene.objects["car"])


def _place_lighthouse(drawing: Drawing) -> None:
    x, on_beach = MIDDLE + drawing.side * drawing.rng.uniform(54, 72), drawing.scene.terrain == "beach"
    draw_lighthouse(drawing, x, drawing.horizon + (16 if on_beach else 44), 1.1 if on_beach else 1.5)


def _place_sailboat(drawing: Drawing) -> None:
    x, drift = MIDDLE - drawing.side * drawing.rng.uniform(14, 56), drawing.rng.uniform(0, 16)
    depth = min(shore_y(drawing) + 34 + drift, 198) if drawing.scene.terrain != "sea" else drawing.horizon + 44 + drift
    draw_sailboat(drawing, x, depth, 1.5, drawing.scene.objects["sailboat"])


def _place_palm(drawing: Drawing) -> None:
    draw_palm(drawing, MIDDLE + drawing.side * drawing.rng.uniform(66, 88), 242, 1.7)


def _place_balloon(drawing: Drawing) -> None:
    x, y = drawing.rng.uniform(50, 206), drawing.rng.uniform(44, 64)
    draw_balloon(drawing, x, y, 1.25, drawing.scene.objects["balloon"])


def _place_birds(drawing: Drawing) -> None:
    draw_birds(drawing, drawing.rng.uniform(70, 180), drawing.rng.uniform(46, 66))


# In the order of drawing: later objects are in front.
_PLACES = {
    "pine trees": _place_pines,
    "tree": _place_tree,
    "house": _place_house,
    "cactus": _place_cactus,
    "car": _place_car,
    "lighthouse": _place_lighthouse,
    "sailboat": _place_sailboat,
    "palm tree": _place_palm,
    "balloon": _place_balloon,
    "birds": _place_birds,
}


def _draw_weather(drawing: Drawing) -> None:
    weather, light = drawing.scene.weather, drawing.light
    if weather == "foggy":
        drawing.canvas.fog(mix(light.horizon, WHITE, 0.1), 0.75)
    elif weather == "rainy":
        _draw_rain(drawing)
    elif weather == "snowy":
        _draw_snow(drawing)


def _draw_rain(drawing: Drawing) -> None:
    layout, color = drawing.layout("rain"), mix(drawing.light.horizon, (200, 214, 232), 0.5)
    for _ in range(34):
        x, y, length = layout.uniform(0, SIDE), layout.uniform(0, 250), layout.uniform(14, 22)
        drawing.canvas.line([(x, y), (x - length * 0.25, y + length)], 1.8, color)


def _draw_snow(drawing: Drawing) -> None:
    layout, color = drawing.layout("snow"), mix(WHITE, drawing.light.middle, 0.1)
    for _ in range(38):
        radius = layout.choice((2.2, 2.8, 3.4))
        drawing.canvas.ellipse(layout.uniform(0, SIDE), layout.uniform(0, SIDE), radius, radius, color)
