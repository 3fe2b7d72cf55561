"""Things in a landscape.  `size` scales a drawing made for size 1; (x, y) is where the thing stands or floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .canvas import SIDE
from .palette import COLORS, WHITE, Color, mix

if TYPE_CHECKING:
    from .drawing import Stage

BIRDS = ((-44, 4), (-18, -14), (8, 2), (34, -18), (50, 8))
LAMP: Color = (255, 214, 110)


def draw_house(stage: Stage, x: float, y: float, size: float, color: str) -> None:
    """A house with lit windows in the evening and snow on its roof in winter."""
    lit, canvas = stage.light.lit, stage.canvas
    roof = (240, 244, 250) if stage.snowy else (70, 46, 36) if color == "brown" else (104, 52, 44)
    window = LAMP if stage.lamps_lit or stage.scene.time == "sunset" else lit((170, 214, 240))
    canvas.rectangle(x + 7 * size, y - 34 * size, x + 12 * size, y - 20 * size, lit((110, 84, 74)))
    canvas.rectangle(x - 16 * size, y - 17 * size, x + 16 * size, y, lit(mix(COLORS[color], (235, 225, 205), 0.1)))
    gable = [(x - 20 * size, y - 16 * size), (x + 20 * size, y - 16 * size), (x, y - 34 * size)]
    canvas.polygon(gable, lit(roof))
    canvas.rectangle(x - 4 * size, y - 11 * size, x + 3 * size, y, lit((84, 54, 38)))
    for left in (-13, 6):
        canvas.rectangle(x + left * size, y - 13 * size, x + (left + 6.5) * size, y - 6 * size, window)


def draw_sailboat(stage: Stage, x: float, y: float, size: float, color: str) -> None:
    """A boat whose sails have the colour."""
    lit, canvas = stage.light.lit, stage.canvas
    sail = mix(stage.light.glowing(COLORS[color]), WHITE, 0.08)
    hull = [(-17, -5), (17, -5), (11, 3), (-11, 3)]
    canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in hull], lit((120, 64, 44)))
    canvas.rectangle(x - 1.2 * size, y - 42 * size, x + 1.2 * size, y - 5 * size, lit((90, 60, 45)))
    main, jib = [(2, -41), (2, -8), (18, -8)], [(-2, -36), (-2, -8), (-14, -8)]
    canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in main], sail)
    canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in jib], mix(sail, (60, 60, 90), 0.16))


def draw_lighthouse(stage: Stage, x: float, y: float, size: float) -> None:
    """A red and white tower on a rock, with a beam when it is dark."""
    lit, canvas = stage.light.lit, stage.canvas
    rock = [
        (x - 34 * size, y + 6),
        (x - 20 * size, y - 8 * size),
        (x + 18 * size, y - 9 * size),
        (x + 36 * size, y + 6),
    ]
    canvas.polygon(rock, lit((92, 84, 86)))
    if stage.lamps_lit:
        beam = [(x, y - 66 * size), (x - 120, y - 88 * size), (x - 120, y - 48 * size)]
        canvas.polygon(beam, mix(stage.light.middle, (255, 240, 180), 0.4))
    for row in range(4):
        low, high = 11 - row * 1.2, 9.8 - row * 1.2
        foot, head = y - (8 + row * 13) * size, y - (21 + row * 13) * size
        band = [(x - low * size, foot), (x + low * size, foot), (x + high * size, head), (x - high * size, head)]
        canvas.polygon(band, lit((245, 245, 245) if row % 2 else (214, 52, 48)))
    canvas.rectangle(x - 5 * size, y - 71 * size, x + 5 * size, y - 60 * size, (255, 232, 130))
    canvas.polygon(
        [(x - 8 * size, y - 70 * size), (x + 8 * size, y - 70 * size), (x, y - 80 * size)], lit((190, 40, 40))
    )


def draw_balloon(stage: Stage, x: float, y: float, size: float, color: str) -> None:
    """A hot-air balloon, striped in its colour; (x, y) is its middle."""
    canvas, glowing = stage.canvas, stage.light.glowing
    plain, pale = glowing(COLORS[color]), glowing(mix(COLORS[color], WHITE, 0.6))
    for half, shoulder, foot, stripe in ((23, 19, 5, plain), (12, 10, 3, pale), (4.5, 3.4, 1.4, plain)):
        canvas.ellipse(x, y, half * size, 25 * size, stripe)
        taper = [(-shoulder, 13), (shoulder, 13), (foot, 33), (-foot, 33)]
        canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in taper], stripe)
    canvas.rectangle(x - 5 * size, y + 36 * size, x + 5 * size, y + 45 * size, glowing((120, 78, 46)))


def draw_car(stage: Stage, x: float, y: float, size: float, color: str) -> None:
    """A car on a road that crosses the whole picture."""
    lit, canvas = stage.light.lit, stage.canvas
    canvas.rectangle(0, y - 20, SIDE, y + 16, lit((92, 94, 102)))
    for left in range(4, SIDE, 42):
        canvas.rectangle(left, y + 3, left + 22, y + 7, lit((240, 236, 220)))
    body, glass = stage.light.glowing(COLORS[color]), lit((190, 222, 240))
    roof = [(-17, -14), (-10, -26), (10, -26), (18, -14)]
    canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in roof], body)
    panes = ([(-13, -14), (-8, -23), (-1, -23), (-1, -14)], [(2, -14), (2, -23), (8.5, -23), (14, -14)])
    for pane in panes:
        canvas.polygon([(x + dx * size, y + dy * size) for dx, dy in pane], glass)
    canvas.rounded(x - 29 * size, y - 15 * size, x + 29 * size, y - 3 * size, 5 * size, body)
    for dx in (-17, 17):
        canvas.ellipse(x + dx * size, y - 3 * size, 6.5 * size, 6.5 * size, (24, 24, 30))
        canvas.ellipse(x + dx * size, y - 3 * size, 3 * size, 3 * size, lit((190, 190, 196)))


def draw_birds(stage: Stage, x: float, y: float) -> None:
    """A flock of five around (x, y)."""
    ink = mix(stage.light.top, (20, 20, 40), 0.75)
    for dx, dy in BIRDS:
        a, b, wing = x + dx, y + dy, 9.0
        wings = [(a - wing, b - 5), (a - 4, b - 6), (a, b), (a + 4, b - 6), (a + wing, b - 5)]
        stage.canvas.line(wings, 2.6, ink)
