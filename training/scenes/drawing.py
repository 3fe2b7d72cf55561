"""The state of one landscape while it is drawn: its light, its framing, and what is taken by objects.

Everything is chosen by the image's seed. Positions are multiples of `STEP`, half the side of a latent's patch, and
those of objects multiples of `PATCH`, its side: a small network draws an edge, a window or a house sharply if it is
always in one of a few places within a patch.
"""

# ruff: noqa: S311 - these random numbers draw images; they keep nothing secret

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .canvas import SIDE, Canvas, Point
from .palette import Light, make_light

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .spec import SceneSpec

# In canvas units.
STEP = 8
PATCH = 16
# How far small things are from the middle of their patch.
DRIFTS = (-4, 0, 4)
# The lowest and the highest horizon by terrain, in canvas units.
HORIZONS = {
    "mountains": (136, 168),
    "hills": (128, 168),
    "desert": (120, 168),
    "beach": (104, 144),
    "sea": (112, 168),
    "forest": (136, 168),
    "meadow": (120, 168),
    "city": (176, 208),
}


@dataclass
class Drawing:
    """Canvas, scene, light and random numbers of one landscape.

    `sun` is the position of a low sun; `side` (-1 or 1) is where the light comes from; `spots` are the circles
    (x, y, radius) that objects of the sky take.
    """

    scene: SceneSpec
    canvas: Canvas = field(default_factory=Canvas)
    sun: Point | None = None
    spots: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # The seed's text decides every drawn number: never change it.
        self.rng = random.Random(f"picture {self.scene.seed}")
        self.light: Light = make_light(self.scene.time, self.scene.weather, self.rng.randrange(12))
        self.horizon: float = self.snapped(*HORIZONS[self.scene.terrain])
        self.side = self.rng.choice((-1, 1))
        self._taken: list[tuple[float, float]] = []

    @property
    def snowy(self) -> bool:
        """Whether it snows, and snow covers the ground."""
        return self.scene.weather == "snowy"

    @property
    def lamps_lit(self) -> bool:
        """Whether it is dark enough for lamps."""
        return self.scene.time in ("night", "dusk")

    def has(self, name: str) -> bool:
        """Return whether the scene contains the object."""
        return name in self.scene.objects

    def snapped(self, low: float, high: float, step: int = STEP) -> float:
        """Return a random multiple of `step` from `low` to `high`."""
        return float(step * self.rng.randint(-int(-low // step), max(int(high // step), -int(-low // step))))

    def cells(self, top: float, bottom: float) -> list[Point]:
        """Return the middles of all patches between two heights, in random order."""
        rows = range(-int(-top // PATCH), int(bottom // PATCH))
        middles = [(x + PATCH / 2, row * PATCH + PATCH / 2) for row in rows for x in range(0, SIDE, PATCH)]
        self.rng.shuffle(middles)
        return middles

    def claim(self, reach: float, low: float, high: float) -> float:
        """Choose where on the ground an object stands that is `reach` wide on both sides: away from the others."""
        places = [self.snapped(low, high, PATCH) for _ in range(24)]
        x = max(places, key=lambda place: min(0.0, self._room(place) - reach))
        self.keep_free(x, reach)
        return x

    def keep_free(self, x: float, reach: float) -> None:
        """Keep objects on the ground away from `x`, as far as there is room."""
        self._taken.append((x, reach))

    def _room(self, x: float) -> float:
        return min((abs(x - other) - reach for other, reach in self._taken), default=float(SIDE))

    def claim_sky(self, name: str, radius: float, low: Point, high: Point) -> Point:
        """Choose where an object is in the sky, between two corners and away from the other objects there."""
        places = [(self.snapped(low[0], high[0], PATCH), self.snapped(low[1], high[1], PATCH)) for _ in range(8)]
        x, y = max(places, key=lambda place: min(0.0, self.sky_room(place) - radius))
        self.spots[name] = (x, y, radius)
        return x, y

    def sky_room(self, point: Point) -> float:
        """Return the distance from a point to the nearest object of the sky."""
        gaps = [((point[0] - x) ** 2 + (point[1] - y) ** 2) ** 0.5 - radius for x, y, radius in self.spots.values()]
        return min(gaps, default=float(SIDE))


def lighthouse_x(drawing: Drawing) -> float:
    """Return where a lighthouse stands: on the side away from the light."""
    return SIDE / 2 - drawing.side * PATCH * (3 + drawing.scene.seed % 3)


def shifted(points: Sequence[Point], x: float, y: float, size: float, flip: int = 1) -> list[Point]:
    """Return the points scaled by `size`, mirrored if `flip` is -1, and moved to (x, y)."""
    return [(x + dx * size * flip, y + dy * size) for dx, dy in points]
