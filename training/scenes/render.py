"""Render an image from its spec: the same spec gives the same bytes with the same version of Pillow.

A landscape is drawn from back to front: sky, ground, water, stars, objects, weather.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .canvas import SIDE, Canvas
from .drawing import DRIFTS, PATCH, Drawing, lighthouse_x
from .land import draw_land, grass_colors
from .objects import draw_balloon, draw_birds, draw_car, draw_house, draw_lighthouse, draw_road, draw_sailboat
from .palette import WHITE, mix
from .plants import PALM_LEAN, draw_cactus, draw_flowers, draw_palm, draw_pine, draw_tree
from .shapes import draw_shapes
from .sky import draw_sky, draw_stars
from .spec import ShapesSpec
from .water import beach_y, draw_water, shore_y

if TYPE_CHECKING:
    from PIL import Image

    from .spec import SceneSpec, Spec

# Where the wheels of a car stand.
ROAD = 224


def render(content: Spec, side: int = SIDE) -> Image.Image:
    """Render a `ShapesSpec` or a `SceneSpec`: RGB, `side` by `side`."""
    if isinstance(content, ShapesSpec):
        return draw_shapes(content, side)
    return draw_scene(content, side)


def draw_scene(scene: SceneSpec, side: int = SIDE) -> Image.Image:
    """Render a landscape: RGB, `side` by `side`."""
    drawing = Drawing(scene, Canvas(side=side))
    draw_sky(drawing)
    bare = drawing.canvas.copy() if drawing.has("stars") else None
    draw_land(drawing)
    if scene.terrain == "meadow" and not drawing.snowy:
        draw_flowers(drawing)
    draw_water(drawing)
    if bare:
        draw_stars(drawing, bare)
    if scene.water == "lake" and any(drawing.has(name) for name in ("house", "pine trees", "tree")):
        _draw_near_shore(drawing)
    for name, place in _PLACES.items():
        if drawing.has(name):
            place(drawing)
    _draw_weather(drawing)
    return drawing.canvas.to_image()


def _draw_near_shore(drawing: Drawing) -> None:
    """Draw the bank of a lake on which the viewer stands."""
    green, phase = grass_colors(drawing)[0], drawing.rng.uniform(0, 6.3)
    edge = [(x, 226 + 5 * math.sin(x * 0.024 + phase)) for x in range(0, SIDE + 1, 8)]
    drawing.canvas.polygon([*edge, (SIDE, SIDE), (0, SIDE)], green)


def _on_bank(drawing: Drawing) -> bool:
    return drawing.scene.water == "lake"


def _baseline(drawing: Drawing) -> float:
    """Return where an object stands: behind a road if there is one."""
    if drawing.has("car"):
        return ROAD - PATCH
    return ROAD + PATCH if _on_bank(drawing) else drawing.snapped(ROAD - PATCH, ROAD, PATCH)


def _reach_low(drawing: Drawing, reach: float) -> tuple[float, float]:
    """Return the least and the greatest x of an object: on one side of a river, and inside the image."""
    if drawing.scene.water == "river":
        return (reach, reach + 16) if drawing.side < 0 else (SIDE - reach - 16, SIDE - reach)
    return max(24.0, reach), SIDE - max(24.0, reach)


def _place_pines(drawing: Drawing) -> None:
    size, count = (
        drawing.rng.choice((1.5,) if _on_bank(drawing) else (2.0, 2.5)),
        drawing.rng.choice((2, 3, 3)),
    )
    reach = 8 * size * count
    x, y = drawing.claim(reach, 8, SIDE - 8), _baseline(drawing)
    for place in range(count):
        taller = drawing.rng.choice((0.8, 1.0, 1.2))
        draw_pine(drawing, x + (place - (count - 1) / 2) * 16 * size, y + 4 * (place % 2), size * taller)


def _place_tree(drawing: Drawing) -> None:
    size = drawing.rng.choice((1.5, 2.0) if _on_bank(drawing) else (2.0, 3.0))
    draw_tree(drawing, drawing.claim(17 * size, *_reach_low(drawing, 17 * size)), _baseline(drawing), size)


def _place_house(drawing: Drawing) -> None:
    size = drawing.rng.choice((1.5, 2.0) if _on_bank(drawing) or drawing.scene.water == "river" else (2.0, 2.5))
    x = drawing.claim(20 * size, *_reach_low(drawing, 20 * size))
    draw_house(drawing, x, _baseline(drawing), size, drawing.scene.objects["house"])


def _place_cactus(drawing: Drawing) -> None:
    size = drawing.rng.choice((2.0, 3.0))
    for number in range(drawing.rng.choice((1, 1, 2))):
        own, flip = size * (1.0, 0.67)[number], drawing.rng.choice((-1, 1))
        draw_cactus(drawing, drawing.claim(18 * own, 40, SIDE - 40), _baseline(drawing), own, flip)


def _place_car(drawing: Drawing) -> None:
    size = drawing.rng.choice((1.6, 2.1))
    draw_road(drawing, ROAD)
    draw_car(
        drawing, drawing.claim(30 * size, 30 * size, SIDE - 30 * size), ROAD + 4, size, drawing.scene.objects["car"]
    )


def _place_lighthouse(drawing: Drawing) -> None:
    on_beach = drawing.scene.terrain == "beach"
    size = 1.2 if on_beach else drawing.rng.choice((1.6, 2.0))
    x = drawing.claim(20 * size, lighthouse_x(drawing), lighthouse_x(drawing))
    foot = drawing.horizon + (24 if on_beach else 56)
    draw_lighthouse(drawing, x, foot - foot % PATCH, size)


def _place_sailboat(drawing: Drawing) -> None:
    sea = drawing.scene.terrain == "sea"
    low = shore_y(drawing) + 24
    high = 240.0 if sea else beach_y(drawing) - 16 if drawing.scene.terrain == "beach" else 208.0
    size = drawing.rng.choice((1.6, 2.4) if sea else (1.2, 1.6))
    x = drawing.claim(18 * size, 48, SIDE - 48)
    draw_sailboat(drawing, x, drawing.snapped(low, max(low, high), PATCH), size, drawing.scene.objects["sailboat"])


def _place_palm(drawing: Drawing) -> None:
    size, lean = drawing.rng.choice((2.0, 2.7)), drawing.rng.choice((-1, 1))
    for number in range(drawing.rng.choice((1, 1, 2))):
        own = size * (1.0, 0.75)[number]
        x = drawing.claim(20 * own, 32, SIDE - 32) - lean * PALM_LEAN * own
        draw_palm(drawing, x, ROAD + PATCH, own, lean)


def _place_balloon(drawing: Drawing) -> None:
    x, y, radius = drawing.spots["balloon"]
    draw_balloon(drawing, x, y, radius / 27, drawing.scene.objects["balloon"])


def _place_birds(drawing: Drawing) -> None:
    draw_birds(drawing, *drawing.spots["birds"][:2])


# In the order of drawing: later objects are in front.
_PLACES = {
    "house": _place_house,
    "tree": _place_tree,
    "pine trees": _place_pines,
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
        drawing.canvas.fog(mix(light.horizon, WHITE, 0.1), 0.62)
    elif weather == "rainy":
        _draw_rain(drawing)
    elif weather == "snowy":
        _draw_snow(drawing)


def _draw_rain(drawing: Drawing) -> None:
    """Draw slanted streaks, each within one patch."""
    color = mix(drawing.light.horizon, (214, 226, 242), 0.6)
    for x, y in drawing.cells(0, SIDE)[: drawing.rng.choice((36, 48, 64))]:
        middle = x + drawing.rng.choice(DRIFTS)
        drawing.canvas.line([(middle + 2.5, y - 7), (middle - 2.5, y + 7)], 2.4, color)


def _draw_snow(drawing: Drawing) -> None:
    color = mix(WHITE, drawing.light.middle, 0.06)
    for x, y in drawing.cells(0, SIDE)[: drawing.rng.choice((28, 40, 52))]:
        radius = drawing.rng.choice((2.6, 3.4, 4.2))
        drawing.canvas.ellipse(x + drawing.rng.choice(DRIFTS), y + drawing.rng.choice(DRIFTS), radius, radius, color)
