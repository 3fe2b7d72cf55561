"""Plants: pines, a round tree, palms, cacti and flowers.

`size` 1 is about 40 units tall; (x, y) is where they stand.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .canvas import SIDE
from .palette import Color, mix

if TYPE_CHECKING:
    from .drawing import Stage

TIERS = ((10, 22, 5), (8.5, 31, 12), (6.5, 40, 20))
FRONDS = (-2.9, -2.3, -1.4, -0.7, -0.15, 0.35, 2.8)
CACTUS = ((-4, -42, 4, 0), (-16, -32, -10, -16), (-16, -21, -2, -15), (10, -36, 16, -20), (2, -25, 16, -19))
BLOSSOMS = ((250, 90, 110), (255, 230, 100), (250, 250, 250), (200, 130, 230))


def draw_pine(stage: Stage, x: float, y: float, size: float, green: Color | None = None) -> None:
    """Three tiers on a short trunk, dark on the right."""
    leaf = green or stage.light.lit((28, 92, 66))
    if stage.snowy:
        leaf = mix(leaf, stage.light.lit((230, 240, 245)), 0.6)
    stage.canvas.rectangle(x - 2 * size, y - 6 * size, x + 2 * size, y, stage.light.lit((80, 52, 34)))
    for tier, (width, top, bottom) in enumerate(TIERS):
        bright, foot = mix(leaf, (255, 255, 255), 0.05 * tier), y - bottom * size
        stage.canvas.polygon([(x - width * size, foot), (x + width * size, foot), (x, y - top * size)], bright)
        stage.canvas.polygon([(x, foot), (x + width * size, foot), (x, y - top * size)], mix(leaf, (0, 0, 20), 0.18))


def draw_tree(stage: Stage, x: float, y: float, size: float) -> None:
    """A round tree."""
    leaf = stage.light.lit((225, 232, 238) if stage.snowy else (58, 140, 62))
    trunk = [(x - 2.5 * size, y), (x + 2.5 * size, y), (x + 1.5 * size, y - 18 * size), (x - 1.5 * size, y - 18 * size)]
    stage.canvas.polygon(trunk, stage.light.lit((98, 64, 40)))
    for dx, dy, radius in ((-8, -21, 9), (8, -21, 9), (0, -29, 11)):
        stage.canvas.ellipse(x + dx * size, y + dy * size, radius * size, radius * size, leaf)
    stage.canvas.ellipse(x - 3 * size, y - 31 * size, 5 * size, 5 * size, mix(leaf, (255, 255, 230), 0.15))


def draw_palm(stage: Stage, x: float, y: float, size: float) -> None:
    """A palm that leans towards the middle of the picture."""
    lean = -stage.side
    crown_x, crown_y, belly = x + lean * 14 * size, y - 62 * size, x + lean * 8 * size
    trunk = [
        (x - 3.5 * size, y), (x + 3.5 * size, y), (belly + 2.5 * size, y - 34 * size), (crown_x + 2 * size, crown_y),
        (crown_x - 2 * size, crown_y), (belly - 2.5 * size, y - 34 * size),
    ]  # fmt: skip
    stage.canvas.polygon(trunk, stage.light.lit((120, 82, 52)))
    for angle in FRONDS:
        dx, dy = math.cos(angle) * 28 * size, math.sin(angle) * 17 * size
        frond = [
            (crown_x, crown_y), (crown_x + dx * 0.55, crown_y + dy - 6 * size),
            (crown_x + dx, crown_y + dy + 9 * size), (crown_x + dx * 0.5, crown_y + dy + 2 * size),
        ]  # fmt: skip
        stage.canvas.polygon(frond, stage.light.lit((36, 130, 66)))


def draw_cactus(stage: Stage, x: float, y: float, size: float) -> None:
    """A cactus with two arms."""
    green = stage.light.lit((52, 128, 74))
    for left, top, right, bottom in CACTUS:
        stage.canvas.rounded(x + left * size, y + top * size, x + right * size, y + bottom * size, 3 * size, green)


def draw_flowers(stage: Stage) -> None:
    """Blossoms all over the ground, larger towards the viewer."""
    pattern = stage.pattern("flowers")
    for _ in range(26):
        y = pattern.uniform(stage.horizon + 26, 250)
        radius = 3.4 * y / 200
        stage.canvas.ellipse(pattern.uniform(0, SIDE), y, radius, radius, stage.light.lit(pattern.choice(BLOSSOMS)))
