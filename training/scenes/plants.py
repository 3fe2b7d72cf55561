"""Plants of a landscape: pines, trees, palms, cactuses and flowers.

`size` scales a drawing that was made for size 1; a plant of size 1 is about 40 units tall.
(x, y) is the point where the plant stands.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .canvas import SIDE, Point
from .drawing import DRIFTS, shifted
from .palette import Color, mix

if TYPE_CHECKING:
    from .drawing import Drawing

# Half width, top and bottom of each tier of a pine.
TIERS = ((11, 20, 5), (9, 30, 13), (6.5, 41, 22))
# Centre and radius of the parts of a round crown.
CROWNS = (
    ((-8, -21, 9), (8, -21, 9), (0, -29, 11)),
    ((0, -26, 14),),
    ((-6, -22, 10), (6, -26, 11)),
    ((-10, -20, 8), (10, -20, 8), (-5, -28, 9), (6, -29, 9), (0, -22, 9)),
)
LEAVES = ((58, 140, 62), (84, 150, 50), (40, 128, 84), (214, 132, 48))
# How far the crown of a palm is from above its foot.
PALM_LEAN = 12
# Directions of a palm's fronds, in radians.
FRONDS = (-2.75, -2.1, -1.2, -0.5, 0.25, 2.9)
# Left, top, right and bottom of the parts of a cactus.
CACTUS = ((-4.5, -42, 4.5, 0), (-17, -32, -10, -15), (-17, -22, -2, -15), (10, -36, 17, -19), (2, -26, 17, -19))
# Colours of blossoms.
BLOSSOMS = ((250, 90, 110), (255, 230, 100), (250, 250, 250), (200, 130, 230), (255, 150, 60))


def draw_pine(drawing: Drawing, x: float, y: float, size: float, green: Color | None = None) -> None:
    """Draw a pine: three tiers on a trunk, dark on the side away from the light."""
    canvas, light, face = drawing.canvas, drawing.light, drawing.side
    leaf = green or light.shade((28, 92, 66))
    if drawing.snowy:
        leaf = mix(leaf, light.shade((230, 240, 245)), 0.5)
    canvas.rectangle(x - 2 * size, y - 7 * size, x + 2 * size, y, mix(light.shade((92, 58, 38)), leaf, 0.25))
    for tier, (width, top, bottom) in enumerate(TIERS):
        bright, foot = mix(leaf, (255, 255, 255), 0.06 * tier), y - bottom * size
        peak = (x, y - top * size)
        canvas.polygon([(x - width * size, foot), (x + width * size, foot), peak], bright)
        canvas.polygon([(x, foot), (x - face * width * size, foot), peak], mix(bright, (0, 0, 24), 0.2))


def draw_treeline(drawing: Drawing, y: float, color: Color, tall: float = 32) -> None:
    """Draw the outline of a far wood that stands at `y`."""
    edge: list[Point] = []
    for x in range(-16, SIDE + 16, 16):
        edge += [(x, y - tall * 0.45), (x + 8, y - tall * drawing.rng.choice((0.75, 0.9, 1.0)))]
    drawing.canvas.polygon([*edge, (SIDE, y + 14), (0, y + 14)], color)


def draw_tree(drawing: Drawing, x: float, y: float, size: float) -> None:
    """Draw a tree with a round crown."""
    rng, canvas = drawing.rng, drawing.canvas
    leaf = drawing.light.shade((225, 232, 238) if drawing.snowy else rng.choice(LEAVES[:3]))
    trunk = [(-3, 0), (3, 0), (1.8, -20), (-1.8, -20)]
    canvas.polygon(shifted(trunk, x, y, size), drawing.light.shade((98, 64, 40)))
    crown = rng.choice(CROWNS)
    dark = mix(leaf, (0, 0, 30), 0.18)
    for dx, dy, radius in crown:
        canvas.ellipse(x + dx * size, y + dy * size, radius * size, radius * size, dark)
    for dx, dy, radius in crown:
        cx, cy = x + (dx + drawing.side * 1.6) * size, y + (dy - 1.6) * size
        canvas.ellipse(cx, cy, (radius - 2) * size, (radius - 2) * size, leaf)


def draw_palm(drawing: Drawing, x: float, y: float, size: float, lean: int) -> None:
    """Draw a palm that leans to the left (-1) or to the right (1)."""
    canvas, shade = drawing.canvas, drawing.light.shade
    trunk = [(-3, 0), (3, 0), (6.5, -22), (13.5, -44), (10.5, -45), (2.5, -24)]
    canvas.polygon(shifted(trunk, x, y, size, lean), shade((128, 86, 54)))
    crown_x, crown_y = x + PALM_LEAN * size * lean, y - 45 * size
    green = shade((36, 130, 66))
    for number, angle in enumerate(FRONDS):
        dx, dy = math.cos(angle) * 24 * lean, math.sin(angle) * 14
        frond = [(0, -1), (dx * 0.5, dy - 6), (dx, dy + 8), (dx * 0.5, dy + 2.5), (0, 3)]
        canvas.polygon(shifted(frond, crown_x, crown_y, size), mix(green, (0, 0, 30), 0.14 * (number % 2)))
    for dx in (-2.4, 2.4):
        canvas.ellipse(crown_x + dx * size, crown_y + 3 * size, 2.4 * size, 2.4 * size, shade((104, 64, 36)))


def draw_cactus(drawing: Drawing, x: float, y: float, size: float, flip: int) -> None:
    """Draw a cactus with two arms, or mirrored if `flip` is -1."""
    green = drawing.light.shade((52, 134, 78))
    for left, top, right, bottom in CACTUS:
        low, high = sorted((left * flip, right * flip))
        drawing.canvas.rounded_rect(
            x + low * size, y + top * size, x + high * size, y + bottom * size, 3.4 * size, green
        )
    drawing.canvas.rectangle(x - 1 * size, y - 37 * size, x + 1 * size, y - 2 * size, mix(green, (0, 0, 30), 0.16))


def draw_flowers(drawing: Drawing) -> None:
    """Draw blossoms all over the ground, larger towards the viewer."""
    rng, light = drawing.rng, drawing.light
    colors = [light.shade_bright(color) for color in rng.sample(BLOSSOMS, rng.choice((1, 2, 3)))]
    cells = drawing.cells(drawing.horizon + 24, SIDE)
    for x, y in cells[: int(len(cells) * rng.choice((0.3, 0.45)))]:
        radius = 1.6 + 3.0 * y / SIDE
        drawing.canvas.ellipse(x + rng.choice(DRIFTS), y + rng.choice(DRIFTS), radius, radius, rng.choice(colors))
