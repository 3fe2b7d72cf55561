"""What a picture shows, drawn from its seed and from nothing else.

Two kinds: one or two coloured shapes on a plain background, and landscapes.
A share of the (shape colour, shape, background) triples is held out: `spec` never makes them, so that the score
can ask for combinations that training has never seen.
"""

# ruff: noqa: S311 - chance here draws pictures, nothing secret

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .palette import COLORS

if TYPE_CHECKING:
    from collections.abc import Mapping

SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond")
TIMES = {"sunrise": 16, "day": 26, "sunset": 26, "dusk": 12, "night": 20}
WEATHERS = {"clear": 60, "cloudy": 16, "snowy": 9, "rainy": 7, "foggy": 8}
TERRAINS = {"mountains": 32, "hills": 11, "desert": 10, "beach": 11, "sea": 11, "forest": 9, "meadow": 10, "city": 9}
WATERS: dict[str, tuple[str, ...]] = {
    "mountains": ("lake", "lake", "lake", "none", "river"),
    "hills": ("none", "lake", "river"),
    "desert": ("none",),
    "beach": ("sea",),
    "sea": ("sea",),
    "forest": ("none", "lake", "river"),
    "meadow": ("none", "river"),
    "city": ("none", "lake"),
}
SHAPES_SHARE = 0.28
HELD_OUT_PERCENT = 16

Triple = tuple[str, str, str]


@dataclass(frozen=True)
class Item:
    """One coloured shape."""

    color: str
    shape: str


@dataclass(frozen=True)
class ShapesSpec:
    """One or two shapes; two stand side by side or, if `stacked`, one above the other."""

    seed: int
    background: str
    items: tuple[Item, ...]
    stacked: bool
    size: float

    def triples(self) -> list[Triple]:
        """The combinations that it shows, one per shape."""
        return [(item.color, item.shape, self.background) for item in self.items]


@dataclass(frozen=True)
class SceneSpec:
    """A landscape; `objects` maps each object to its colour, or to "" where colour is not said."""

    seed: int
    terrain: str
    time: str
    weather: str
    water: str
    objects: Mapping[str, str] = field(default_factory=dict)


Spec = ShapesSpec | SceneSpec


def held_out(color: str, shape: str, background: str) -> bool:
    """Whether training never shows this combination."""
    return zlib.crc32(f"{color} {shape} on {background}".encode()) % 100 < HELD_OUT_PERCENT


def held_out_triples() -> list[Triple]:
    """All (shape colour, shape, background) combinations that no seed renders, in alphabetical order."""
    pairs = [(color, background) for color in COLORS for background in COLORS if color != background]
    return sorted(
        (color, shape, background)
        for color, background in pairs
        for shape in SHAPES
        if held_out(color, shape, background)
    )


def spec(seed: int) -> Spec:
    """The content of picture `seed`."""
    draw = random.Random(seed)
    if draw.random() < SHAPES_SHARE:
        return _shapes(seed, draw)
    return _scene(seed, draw)


def _shapes(seed: int, draw: random.Random) -> ShapesSpec:
    while True:
        background, *colors = draw.sample(list(COLORS), 3)
        count = 1 if draw.random() < 0.6 else 2
        items = tuple(Item(color, draw.choice(SHAPES)) for color in colors[:count])
        made = ShapesSpec(seed, background, items, draw.random() < 0.35, draw.random())
        if not any(held_out(*triple) for triple in made.triples()):
            return made


def _scene(seed: int, draw: random.Random) -> SceneSpec:
    terrain, time, weather = (_weighted(draw, table) for table in (TERRAINS, TIMES, WEATHERS))
    if weather == "snowy" and terrain in ("desert", "beach", "sea"):
        weather = "clear"
    bare = SceneSpec(seed, terrain, time, weather, draw.choice(WATERS[terrain]))
    return SceneSpec(seed, terrain, time, weather, bare.water, _objects(bare, draw))


def _weighted(draw: random.Random, table: Mapping[str, int]) -> str:
    return draw.choices(list(table), list(table.values()))[0]


# object: (its chance, the colours it may have); "" is no colour of its own
BALLOON = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
SAIL = ("white", "white", "red", "yellow", "orange")
HOUSE = ("brown", "red", "white", "blue", "yellow")
CAR = ("red", "blue", "yellow", "green", "orange", "white")


def _objects(scene: SceneSpec, draw: random.Random) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, chance, colors in _possible(scene):
        if draw.random() < chance and not _crowded(name, found):
            found[name] = draw.choice(colors)
    return found


def _crowded(name: str, found: Mapping[str, str]) -> bool:
    rivals = {"birds": "balloon", "tree": "house", "stars": "moon", "car": "house"}
    return rivals.get(name) in found


def _possible(scene: SceneSpec) -> list[tuple[str, float, tuple[str, ...]]]:
    """The objects that fit a scene, with their chances."""
    terrain, plain = scene.terrain, ("",)
    table: list[tuple[str, float, tuple[str, ...]]] = [("balloon", 0.22, BALLOON), ("birds", 0.18, plain)]
    if scene.water in ("lake", "sea") and terrain != "city":
        table.append(("sailboat", 0.32, SAIL))
    if terrain in ("sea", "beach"):
        table.append(("lighthouse", 0.40 if terrain == "sea" else 0.15, plain))
    table += _on_land(terrain, plain)
    if scene.water == "none" and terrain != "forest":
        table.append(("car", 0.25, CAR))
    return table + _in_the_sky(scene, plain)


def _on_land(terrain: str, plain: tuple[str, ...]) -> list[tuple[str, float, tuple[str, ...]]]:
    table: list[tuple[str, float, tuple[str, ...]]] = []
    if terrain in ("mountains", "hills", "meadow"):
        table.append(("house", 0.30, HOUSE))
    if terrain in ("mountains", "hills"):
        table.append(("pine trees", 0.35, plain))
    if terrain in ("meadow", "hills"):
        table.append(("tree", 0.40, plain))
    if terrain == "beach":
        table.append(("palm tree", 0.60, plain))
    if terrain == "desert":
        table.append(("cactus", 0.50, plain))
    return table


def _in_the_sky(scene: SceneSpec, plain: tuple[str, ...]) -> list[tuple[str, float, tuple[str, ...]]]:
    if scene.weather != "clear":
        return []
    if scene.time in ("dusk", "night"):
        return [("moon", 0.60, plain), ("stars", 1.0, plain)]
    return [("sun", 0.60, plain)] if scene.time == "day" else []
