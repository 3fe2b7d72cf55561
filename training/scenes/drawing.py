"""The state of one landscape while it is drawn.

There are two kinds of random numbers. `Drawing.rng` belongs to the image. `Drawing.layout` belongs to a small library
of layouts (mountain ranges, skylines, clouds, stars): images differ in the layout that they use, not in every peak and
every window. The layouts are few, so that a network of five million weights, trained on two CPU cores, can memorize
them and draw them sharply.
"""

# ruff: noqa: S311 - these random numbers draw images; they keep nothing secret

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .canvas import Canvas, Point
from .palette import Light, make_light

if TYPE_CHECKING:
    from .spec import SceneSpec

# Layouts of each name.
LAYOUTS = 6
# The height of the horizon by terrain, in canvas units.
HORIZONS = {
    "mountains": 146,
    "hills": 150,
    "desert": 150,
    "beach": 136,
    "sea": 142,
    "forest": 146,
    "meadow": 152,
    "city": 166,
}


@dataclass
class Drawing:
    """Canvas, scene, light and random numbers of one landscape; `sun` is the position of a low sun."""

    scene: SceneSpec
    canvas: Canvas = field(default_factory=Canvas)
    sun: Point | None = None

    def __post_init__(self) -> None:
        # The seed's text decides every drawn number: never change it.
        self.rng = random.Random(f"picture {self.scene.seed}")
        self.light: Light = make_light(self.scene.time, self.scene.weather)
        self.horizon = HORIZONS[self.scene.terrain] + self.rng.choice((-4, 0, 4))
        self.side = self.rng.choice((-1, 1))

    @property
    def snowy(self) -> bool:
        """Whether it snows, and snow covers the ground."""
        return self.scene.weather == "snowy"

    @property
    def lamps_lit(self) -> bool:
        """Whether it is dark enough for lamps."""
        return self.scene.time in ("night", "dusk")

    def layout(self, name: str) -> random.Random:
        """Choose one of the layouts called `name`, and return its random numbers: equal in every image that uses it."""
        return random.Random(f"{name} {self.rng.randrange(LAYOUTS)}")

    def has(self, name: str) -> bool:
        """Return whether the scene contains the object."""
        return name in self.scene.objects
