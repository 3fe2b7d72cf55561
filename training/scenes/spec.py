"""The spec of an image: its content, drawn from a seed alone.

An image shows one or two coloured shapes on a plain background, or a landscape.
A part of all (shape colour, shape, background) combinations is held out: `make_spec` never makes them, so that the
score can ask for combinations that training has never shown.
"""

# ruff: noqa: S311 - these random numbers draw images; they keep nothing secret

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .palette import COLORS

if TYPE_CHECKING:
    from collections.abc import Mapping

SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond")
# The numbers of these three tables are relative frequencies.
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
# Share of images that show shapes.
SHAPES_SHARE = 0.28
HELD_OUT_PERCENT = 16

Combination = tuple[str, str, str]


@dataclass(frozen=True)
class ColoredShape:
    """One shape and its colour."""

    color: str
    shape: str


@dataclass(frozen=True)
class ShapesSpec:
    """One or two shapes; two are side by side or, if `stacked`, one above the other. `size` is 0 to 1."""

    seed: int
    background: str
    items: tuple[ColoredShape, ...]
    stacked: bool
    size: float

    def combinations(self) -> list[Combination]:
        """Return the combinations that the image shows, one per shape."""
        return [(item.color, item.shape, self.background) for item in self.items]


@dataclass(frozen=True)
class SceneSpec:
    """A landscape; `objects` maps each object to its colour, or to "" for objects without a choice of colour.

    The moon's colour is its phase, "full" or "crescent".
    """

    seed: int
    terrain: str
    time: str
    weather: str
    water: str
    objects: Mapping[str, str] = field(default_factory=dict)


Spec = ShapesSpec | SceneSpec


def is_held_out(color: str, shape: str, background: str) -> bool:
    """Return whether training never shows this combination."""
    return zlib.crc32(f"{color} {shape} on {background}".encode()) % 100 < HELD_OUT_PERCENT


def held_out_combinations() -> list[Combination]:
    """Return all combinations that no seed renders, in alphabetical order."""
    pairs = [(color, background) for color in COLORS for background in COLORS if color != background]
    return sorted(
        (color, shape, background)
        for color, background in pairs
        for shape in SHAPES
        if is_held_out(color, shape, background)
    )


def make_spec(seed: int) -> Spec:
    """Return the spec of image `seed`."""
    rng = random.Random(seed)
    if rng.random() < SHAPES_SHARE:
        return _make_shapes(seed, rng)
    return _make_scene(seed, rng)


def _make_shapes(seed: int, rng: random.Random) -> ShapesSpec:
    while True:
        background, *colors = rng.sample(list(COLORS), 3)
        count = 1 if rng.random() < 0.6 else 2
        items = tuple(ColoredShape(color, rng.choice(SHAPES)) for color in colors[:count])
        spec = ShapesSpec(seed, background, items, rng.random() < 0.35, rng.random())
        if not any(is_held_out(*combination) for combination in spec.combinations()):
            return spec


def _make_scene(seed: int, rng: random.Random) -> SceneSpec:
    terrain, time, weather = (_choose_weighted(rng, table) for table in (TERRAINS, TIMES, WEATHERS))
    if weather == "snowy" and terrain in ("desert", "beach", "sea"):
        weather = "clear"
    empty = SceneSpec(seed, terrain, time, weather, rng.choice(WATERS[terrain]))
    return SceneSpec(seed, terrain, time, weather, empty.water, _choose_objects(empty, rng))


def _choose_weighted(rng: random.Random, table: Mapping[str, int]) -> str:
    return rng.choices(list(table), list(table.values()))[0]


# The colours that an object may have; repeated ones are more frequent.
BALLOON = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
SAIL = ("white", "white", "red", "yellow", "orange")
HOUSE = ("brown", "red", "white", "blue", "yellow")
CAR = ("red", "blue", "yellow", "green", "orange", "white")
# The moon has a phase instead.
MOON = ("full", "full", "full", "crescent")


def _choose_objects(scene: SceneSpec, rng: random.Random) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for name, probability, colors in _possible_objects(scene):
        if rng.random() < probability and not _conflicts(name, chosen):
            chosen[name] = rng.choice(colors)
    return chosen


def _conflicts(name: str, chosen: Mapping[str, str]) -> bool:
    rivals = {"birds": "balloon", "tree": "house", "stars": "moon", "car": "house"}
    return rivals.get(name) in chosen


def _possible_objects(scene: SceneSpec) -> list[tuple[str, float, tuple[str, ...]]]:
    """Return the objects that fit a scene, with their probabilities and colours."""
    terrain, no_color = scene.terrain, ("",)
    table: list[tuple[str, float, tuple[str, ...]]] = [("balloon", 0.22, BALLOON), ("birds", 0.18, no_color)]
    if scene.water in ("lake", "sea") and terrain != "city":
        table.append(("sailboat", 0.32, SAIL))
    if terrain in ("sea", "beach"):
        table.append(("lighthouse", 0.40 if terrain == "sea" else 0.15, no_color))
    table += _land_objects(terrain, no_color)
    if scene.water == "none" and terrain != "forest":
        table.append(("car", 0.25, CAR))
    return table + _sky_objects(scene, no_color)


def _land_objects(terrain: str, no_color: tuple[str, ...]) -> list[tuple[str, float, tuple[str, ...]]]:
    table: list[tuple[str, float, tuple[str, ...]]] = []
    if terrain in ("mountains", "hills", "meadow"):
        table.append(("house", 0.30, HOUSE))
    if terrain in ("mountains", "hills"):
        table.append(("pine trees", 0.35, no_color))
    if terrain in ("meadow", "hills"):
        table.append(("tree", 0.40, no_color))
    if terrain == "beach":
        table.append(("palm tree", 0.60, no_color))
    if terrain == "desert":
        table.append(("cactus", 0.50, no_color))
    return table


def _sky_objects(scene: SceneSpec, no_color: tuple[str, ...]) -> list[tuple[str, float, tuple[str, ...]]]:
    if scene.weather != "clear":
        return []
    if scene.time in ("dusk", "night"):
        return [("moon", 0.60, MOON), ("stars", 1.0, no_color)]
    return [("sun", 0.60, no_color)] if scene.time == "day" else []
