"""What every drawing function of a landscape is given: canvas, content, light, and the two kinds of chance.

`chance` belongs to the picture.  `pattern` belongs to a small library of layouts (ranges of mountains, skylines,
clouds, stars): pictures differ in which layout they take, not in every peak and every window.  So few patterns that a
network of five million weights, trained on two CPU cores, can know them by heart and draw them sharply.
"""

# ruff: noqa: S311 - chance here draws pictures, nothing secret

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .canvas import Canvas, Point
from .palette import Light, light_of

if TYPE_CHECKING:
    from .spec import SceneSpec

PATTERNS = 6
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
class Stage:
    """One landscape being drawn; `sun` is where it stands when it is low, for the light on the water."""

    scene: SceneSpec
    canvas: Canvas = field(default_factory=Canvas)
    sun: Point | None = None

    def __post_init__(self) -> None:
        self.chance = random.Random(f"picture {self.scene.seed}")
        self.light: Light = light_of(self.scene.time, self.scene.weather)
        self.horizon = HORIZONS[self.scene.terrain] + self.chance.choice((-4, 0, 4))
        self.side = self.chance.choice((-1, 1))

    @property
    def snowy(self) -> bool:
        """Whether snow lies and falls."""
        return self.scene.weather == "snowy"

    @property
    def lamps_lit(self) -> bool:
        """Whether it is dark enough for lamps."""
        return self.scene.time in ("night", "dusk")

    def pattern(self, name: str) -> random.Random:
        """The chance of one of the library's layouts, the same for every picture that takes it."""
        return random.Random(f"{name} {self.chance.randrange(PATTERNS)}")

    def has(self, name: str) -> bool:
        """Whether the scene holds the object."""
        return name in self.scene.objects
