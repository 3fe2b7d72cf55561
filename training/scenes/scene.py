"""A landscape, from back to front: sky, ground, water, things, weather."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .canvas import SIDE
from .drawing import Stage
from .land import draw_land, grass
from .objects import draw_balloon, draw_birds, draw_car, draw_house, draw_lighthouse, draw_sailboat
from .palette import WHITE, mix
from .plants import draw_cactus, draw_flowers, draw_palm, draw_pine, draw_tree
from .sky import draw_sky
from .water import draw_water, shore_of

if TYPE_CHECKING:
    from PIL import Image

    from .spec import SceneSpec

MIDDLE = SIDE / 2


def draw_scene(scene: SceneSpec) -> Image.Image:
    """The landscape as an RGB picture, 256 by 256."""
    stage = Stage(scene)
    draw_sky(stage)
    draw_land(stage)
    draw_water(stage)
    if scene.terrain == "meadow" and not stage.snowy:
        draw_flowers(stage)
    if scene.water == "lake" and (stage.has("house") or stage.has("pine trees")):
        _near_shore(stage)
    for name, place in _PLACES.items():
        if stage.has(name):
            place(stage)
    _weather(stage)
    return stage.canvas.picture()


def _near_shore(stage: Stage) -> None:
    side, green = stage.side, grass(stage)[0]
    edge = [(-150, 222), (-60, 226), (20, 250), (30, 256), (-150, 256)]
    stage.canvas.polygon([(MIDDLE + side * dx, y) for dx, y in edge], green)


def _pines(stage: Stage) -> None:
    for place in range(3):
        x = MIDDLE - stage.side * (110 - place * 30)
        draw_pine(stage, x, 238 + place * 6, 1.9 - 0.25 * place)


def _tree(stage: Stage) -> None:
    draw_tree(stage, MIDDLE + stage.side * stage.chance.uniform(44, 72), 224, 2)


def _house(stage: Stage) -> None:
    color, drift = stage.scene.objects["house"], stage.chance.uniform(-6, 6)
    if stage.scene.water == "lake":
        draw_house(stage, MIDDLE - stage.side * (60 + drift), 244, 1.4, color)
    else:
        draw_house(stage, MIDDLE + stage.side * (58 + drift), 218, 1.9, color)


def _cactus(stage: Stage) -> None:
    draw_cactus(stage, MIDDLE + stage.side * stage.chance.uniform(40, 84), 216 + stage.chance.uniform(-6, 10), 1.6)
    if stage.chance.random() < 0.4:
        draw_cactus(stage, MIDDLE - stage.side * 60, 232, 1.8)


def _car(stage: Stage) -> None:
    draw_car(stage, MIDDLE + stage.chance.uniform(-36, 36), 230, 1.5, stage.scene.objects["car"])


def _lighthouse(stage: Stage) -> None:
    x, on_beach = MIDDLE + stage.side * stage.chance.uniform(54, 72), stage.scene.terrain == "beach"
    draw_lighthouse(stage, x, stage.horizon + (16 if on_beach else 44), 1.1 if on_beach else 1.5)


def _sailboat(stage: Stage) -> None:
    x, drift = MIDDLE - stage.side * stage.chance.uniform(14, 56), stage.chance.uniform(0, 16)
    depth = min(shore_of(stage) + 34 + drift, 198) if stage.scene.terrain != "sea" else stage.horizon + 44 + drift
    draw_sailboat(stage, x, depth, 1.5, stage.scene.objects["sailboat"])


def _palm(stage: Stage) -> None:
    draw_palm(stage, MIDDLE + stage.side * stage.chance.uniform(66, 88), 242, 1.7)


def _balloon(stage: Stage) -> None:
    x, y = stage.chance.uniform(50, 206), stage.chance.uniform(44, 64)
    draw_balloon(stage, x, y, 1.25, stage.scene.objects["balloon"])


def _birds(stage: Stage) -> None:
    draw_birds(stage, stage.chance.uniform(70, 180), stage.chance.uniform(46, 66))


# In the order in which they are drawn: later things stand in front.
_PLACES = {
    "pine trees": _pines, "tree": _tree, "house": _house, "cactus": _cactus, "car": _car, "lighthouse": _lighthouse,
    "sailboat": _sailboat, "palm tree": _palm, "balloon": _balloon, "birds": _birds,
}  # fmt: skip


def _weather(stage: Stage) -> None:
    weather, light = stage.scene.weather, stage.light
    if weather == "foggy":
        stage.canvas.veil(mix(light.horizon, WHITE, 0.1), 0.75)
    elif weather == "rainy":
        _rain(stage)
    elif weather == "snowy":
        _snow(stage)


def _rain(stage: Stage) -> None:
    pattern, color = stage.pattern("rain"), mix(stage.light.horizon, (200, 214, 232), 0.5)
    for _ in range(34):
        x, y, length = pattern.uniform(0, SIDE), pattern.uniform(0, 250), pattern.uniform(14, 22)
        stage.canvas.line([(x, y), (x - length * 0.25, y + length)], 1.8, color)


def _snow(stage: Stage) -> None:
    pattern, color = stage.pattern("snow"), mix(WHITE, stage.light.middle, 0.1)
    for _ in range(38):
        radius = pattern.choice((2.2, 2.8, 3.4))
        stage.canvas.ellipse(pattern.uniform(0, SIDE), pattern.uniform(0, SIDE), radius, radius, color)
