"""Objects of a landscape: plants, buildings, vehicles and birds.

`size` scales a drawing that was made for size 1; a plant of size 1 is about 40 units tall.
(x, y) is the point where the object stands or floats.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .canvas import SIDE
from .palette import COLORS, WHITE, Color, mix

if TYPE_CHECKING:
    from .drawing import Drawing

# Offsets of the birds from the middle of their flock.
BIRDS = ((-44, 4), (-18, -14), (8, 2), (34, -18), (50, 8))
# The light of a lamp behind a window.
LAMP: Color = (255, 214, 110)
# Half width, top and bottom of each tier of a pine.
TIERS = ((10, 22, 5), (8.5, 31, 12), (6.5, 40, 20))
# Directions of a palm's fronds, in radians.
FRONDS = (-2.9, -2.3, -1.4, -0.7, -0.15, 0.35, 2.8)
# Left, top, right and bottom of the parts of a cactus.
CACTUS = ((-4, -42, 4, 0), (-16, -32, -10, -16), (-16, -21, -2, -15), (10, -36, 16, -20), (2, -25, 16, -19))
# Colours of blossoms.
BLOSSOMS = ((250, 90, 110), (255, 230, 100), (250, 250, 250), (200, 130, 230))


def draw_house(drawing: Drawing, x: float, y: float, size: float, color: str) -> None:
    """Draw a house; its windows are lit in the evening, and its roof is white when it snows."""
    shade, canvas = drawing.light.shade, drawing.canvas
    roof = (240, 244, 250) if drawing.snowy else (70, 46, 36) if color == "brown" else (104, 52, 44)
    window = LAMP if drawing.lamps_lit or drawing.scene.time == "sunset" else shade((170, 214, 240))
    canvas.rectangle(x + 7 * size, y - 34 * size, x + 12 * size, y - 20 * size, shade((110, 84, 74)))
    canvas.rectangle(x - 16 * size, y - 17 * size, x + 16 * size, y, shade(mix(COLORS[color], (235, 225, 205), 0.1)))
    gable = [(x - 20 * size, y - 16 * size), (x + 20 * size, y - 16 * size), (x, y - 34 * size)]
    canvas.polygon(gable, shade(roof))
    canvas.rectangle(x - 4 * size, y - 11 * size, x + 3 * size, y, shade((84, 54, 38)))
    for left in (-13, 6):
        canvas.rectangle(x + left * size, y - 13 * size, x + (left + 6.5) * size, y - 6 * size, window)


def draw_sailboat(drawing: Drawing, x: float, y: float, size: float, color: str) -> None:
    """Draw a boat with sails of the colour."""
    shade, canvas = drawing.light.shade, drawing.canvas
    sail = mix(drawing.light.shade_bright(COLORS[color]), WHITE, 0.08)
    hull = [(-17, -5), (17, -5), (11, 3), (-11, 3)]
    canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in hull], shade((120, 64, 44)))
    canvas.rectangle(x - 1.2 * size, y - 42 * size, x + 1.2 * size, y - 5 * size, shade((90, 60, 45)))
    main, jib = [(2, -41), (2, -8), (18, -8)], [(-2, -36), (-2, -8), (-14, -8)]
    canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in main], sail)
    canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in jib], mix(sail, (60, 60, 90), 0.16))


def draw_lighthouse(drawing: Drawing, x: float, y: float, size: float) -> None:
    """Draw a red and white tower on a rock, with a beam when it is dark."""
    shade, canvas = drawing.light.shade, drawing.canvas
    rock = [
        (x - 34 * size, y + 6),
        (x - 20 * size, y - 8 * size),
        (x + 18 * size, y - 9 * size),
        (x + 36 * size, y + 6),
    ]
    canvas.polygon(rock, shade((92, 84, 86)))
    if drawing.lamps_lit:
        beam = [(x, y - 66 * size), (x - 120, y - 88 * size), (x - 120, y - 48 * size)]
        canvas.polygon(beam, mix(drawing.light.middle, (255, 240, 180), 0.4))
    for row in range(4):
        low, high = 11 - row * 1.2, 9.8 - row * 1.2
        foot, head = y - (8 + row * 13) * size, y - (21 + row * 13) * size
        band = [(x - low * size, foot), (x + low * size, foot), (x + high * size, head), (x - high * size, head)]
        canvas.polygon(band, shade((245, 245, 245) if row % 2 else (214, 52, 48)))
    canvas.rectangle(x - 5 * size, y - 71 * size, x + 5 * size, y - 60 * size, (255, 232, 130))
    canvas.polygon(
        [(x - 8 * size, y - 70 * size), (x + 8 * size, y - 70 * size), (x, y - 80 * size)], shade((190, 40, 40))
    )


def draw_balloon(drawing: Drawing, x: float, y: float, size: float, color: str) -> None:
    """Draw a hot-air balloon with stripes of the colour; (x, y) is its centre."""
    canvas, shade_bright = drawing.canvas, drawing.light.shade_bright
    plain, pale = shade_bright(COLORS[color]), shade_bright(mix(COLORS[color], WHITE, 0.6))
    for half, shoulder, foot, stripe in ((23, 19, 5, plain), (12, 10, 3, pale), (4.5, 3.4, 1.4, plain)):
        canvas.ellipse(x, y, half * size, 25 * size, stripe)
        taper = [(-shoulder, 13), (shoulder, 13), (foot, 33), (-foot, 33)]
        canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in taper], stripe)
    canvas.rectangle(x - 5 * size, y + 36 * size, x + 5 * size, y + 45 * size, shade_bright((120, 78, 46)))


def draw_car(drawing: Drawing, x: float, y: float, size: float, color: str) -> None:
    """Draw a car on a road that crosses the whole image."""
    shade, canvas = drawing.light.shade, drawing.canvas
    canvas.rectangle(0, y - 20, SIDE, y + 16, shade((92, 94, 102)))
    for left in range(4, SIDE, 42):
        canvas.rectangle(left, y + 3, left + 22, y + 7, shade((240, 236, 220)))
    body, glass = drawing.light.shade_bright(COLORS[color]), shade((190, 222, 240))
    roof = [(-17, -14), (-10, -26), (10, -26), (18, -14)]
    canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in roof], body)
    panes = ([(-13, -14), (-8, -23), (-1, -23), (-1, -14)], [(2, -14), (2, -23), (8.5, -23), (14, -14)])
    for pane in panes:
        canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in pane], glass)
    canvas.rounded_rect(x - 29 * size, y - 15 * size, x + 29 * size, y - 3 * size, 5 * size, body)
    for dx in (-17, 17):
        canvas.ellipse(x + dx * size, y - 3 * size, 6.5 * size, 6.5 * size, (24, 24, 30))
        canvas.ellipse(x + dx * size, y - 3 * size, 3 * size, 3 * size, shade((190, 190, 196)))


def draw_birds(drawing: Drawing, x: float, y: float) -> None:
    """Draw a flock of five birds around (x, y)."""
    ink = mix(drawing.light.top, (20, 20, 40), 0.75)
    for dx, dy in BIRDS:
        a, b, wing = x + dx, y + dy, 9.0
        wings = [(a - wing, b - 5), (a - 4, b - 6), (a, b), (a + 4, b - 6), (a + wing, b - 5)]
        drawing.canvas.line(wings, 2.6, ink)


def draw_pine(drawing: Drawing, x: float, y: float, size: float, green: Color | None = None) -> None:
    """Draw a pine: three tiers on a short trunk, dark on the right."""
    leaf = green or drawing.light.shade((28, 92, 66))
    if drawing.snowy:
        leaf = mix(leaf, drawing.light.shade((230, 240, 245)), 0.6)
    drawing.canvas.rectangle(x - 2 * size, y - 6 * size, x + 2 * size, y, drawing.light.shade((80, 52, 34)))
    for tier, (width, top, bottom) in enumerate(TIERS):
        bright, foot = mix(leaf, (255, 255, 255), 0.05 * tier), y - bottom * size
        drawing.canvas.polygon([(x - width * size, foot), (x + width * size, foot), (x, y - top * size)], bright)
        drawing.canvas.polygon([(x, foot), (x + width * size, foot), (x, y - top * size)], mix(leaf, (0, 0, 20), 0.18))


def draw_tree(drawing: Drawing, x: float, y: float, size: float) -> None:
    """Draw a tree with a round crown."""
    leaf = drawing.light.shade((225, 232, 238) if drawing.snowy else (58, 140, 62))
    trunk = [(x - 2.5 * size, y), (x + 2.5 * size, y), (x + 1.5 * size, y - 18 * size), (x - 1.5 * size, y - 18 * size)]
    drawing.canvas.polygon(trunk, drawing.light.shade((98, 64, 40)))
    for dx, dy, radius in ((-8, -21, 9), (8, -21, 9), (0, -29, 11)):
        drawing.canvas.ellipse(x + dx * size, y + dy * size, radius * size, radius * size, leaf)
    drawing.canvas.ellipse(x - 3 * size, y - 31 * size, 5 * size, 5 * size, mix(leaf, (255, 255, 230), 0.15))


def draw_palm(drawing: Drawing, x: float, y: float, size: float) -> None:
    """Draw a palm that leans towards the middle of the image."""
    lean = -drawing.side
    crown_x, crown_y, belly = x + lean * 14 * size, y - 62 * size, x + lean * 8 * size
    trunk = [
        (x - 3.5 * size, y), (x + 3.5 * size, y), (belly + 2.5 * size, y - 34 * size), (crown_x + 2 * size, crown_y),
        (crown_x - 2 * size, crown_y), (belly - 2.5 * size, y - 34 * size),
    ]  # fmt: skip
    drawing.canvas.polygon(trunk, drawing.light.shade((120, 82, 52)))
    for angle in FRONDS:
        dx, dy = math.cos(angle) * 28 * size, math.sin(angle) * 17 * size
        frond = [
            (crown_x, crown_y), (crown_x + dx * 0.55, crown_y + dy - 6 * size),
            (crown_x + dx, crown_y + dy + 9 * size), (crown_x + dx * 0.5, crown_y + dy + 2 * size),
        ]  # fmt: skip
        drawing.canvas.polygon(frond, drawing.light.shade((36, 130, 66)))


def draw_cactus(drawing: Drawing, x: float, y: float, size: float) -> None:
    """Draw a cactus with two arms."""
    green = drawing.light.shade((52, 128, 74))
    for left, top, right, bottom in CACTUS:
        drawing.canvas.rounded_rect(
            x + left * size, y + top * size, x + right * size, y + bottom * size, 3 * size, green
        )


def draw_flowers(drawing: Drawing) -> None:
    """Draw blossoms all over the ground, larger towards the viewer."""
    layout = drawing.layout("flowers")
    for _ in range(26):
        y = layout.uniform(drawing.horizon + 26, 250)
        radius = 3.4 * y / 200
        drawing.canvas.ellipse(layout.uniform(0, SIDE), y, radius, radius, drawing.light.shade(layout.choice(BLOSSOMS)))
