"""Buildings, vehicles and birds of a landscape, and the skyline of a city.

`size` scales a drawing that was made for size 1. (x, y) is the point where the object stands or floats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .canvas import SIDE
from .drawing import PATCH, STEP, shifted
from .palette import COLORS, WHITE, Color, mix

if TYPE_CHECKING:
    from .drawing import Drawing

# Offsets of the birds from the middle of their flock.
FLOCKS = (
    ((-40, 8), (0, -8), (40, 8)),
    ((-32, -16), (0, 0), (32, -16), (16, 24)),
    ((-40, 16), (-16, -8), (16, 8), (40, -16)),
    ((-24, 0), (24, -16)),
)
# The light of a lamp behind a window.
LAMP: Color = (255, 214, 110)
ROOFS = ((104, 52, 44), (70, 62, 78), (150, 70, 48))
# Walls by day, and windows.
WALLS = (
    (214, 110, 86), (240, 216, 170), (120, 160, 200), (92, 128, 168), (226, 172, 92), (168, 180, 192), (96, 150, 148),
    (236, 236, 228), (188, 128, 116), (132, 132, 168),
)  # fmt: skip
GLASS: Color = (222, 240, 250)
DARK_GLASS: Color = (62, 96, 142)
# Walls whose red, green and blue add up to more have dark windows by day.
PALE = 480
# Widths of near buildings in patches.
WIDTHS = (2, 3, 3, 4)


def draw_house(drawing: Drawing, x: float, y: float, size: float, color: str) -> None:
    """Draw a house; its windows are lit in the evening, and its roof is white when it snows."""
    shade, canvas, flip = drawing.light.shade, drawing.canvas, drawing.rng.choice((-1, 1))
    roof = (240, 244, 250) if drawing.snowy else (58, 38, 34) if color == "brown" else drawing.rng.choice(ROOFS)
    window = LAMP if drawing.lamps_lit or drawing.scene.time == "sunset" else shade((186, 224, 244))
    wall, door = drawing.light.shade_bright(COLORS[color]), shade((84, 54, 38))
    canvas.polygon(shifted([(8, -38), (13, -38), (13, -18), (8, -18)], x, y, size, flip), shade((110, 84, 74)))
    canvas.rectangle(x - 16 * size, y - 18 * size, x + 16 * size, y, wall)
    wide = drawing.rng.random() < 0.5
    gable = [(-20, -17), (20, -17), (13, -32), (-13, -32)] if wide else [(-20, -17), (20, -17), (0, -36)]
    canvas.polygon(shifted(gable, x, y, size), shade(roof))
    canvas.rectangle(x - 3.4 * size, y - 12 * size, x + 3.4 * size, y, door)
    for left in (-9.5, 9.5):
        for half, fill in ((4.6, mix(wall, WHITE, 0.6)), (3.6, window)):
            cx, cy = x + left * size, y - 10 * size
            canvas.rectangle(cx - half * size, cy - half * size, cx + half * size, cy + half * size, fill)


def draw_sailboat(drawing: Drawing, x: float, y: float, size: float, color: str) -> None:
    """Draw a boat with sails of the colour."""
    shade, canvas, flip = drawing.light.shade, drawing.canvas, drawing.rng.choice((-1, 1))
    sail = mix(drawing.light.shade_bright(COLORS[color]), WHITE, 0.06)
    canvas.polygon(shifted([(-19, -6), (19, -6), (12, 4), (-12, 4)], x, y, size), shade((128, 66, 44)))
    canvas.rectangle(x - 1.2 * size, y - 44 * size, x + 1.2 * size, y - 5 * size, shade((90, 60, 45)))
    canvas.polygon(shifted([(2, -43), (2, -8), (20, -8)], x, y, size, flip), sail)
    canvas.polygon(shifted([(-2, -36), (-2, -8), (-15, -8)], x, y, size, flip), mix(sail, (60, 60, 90), 0.14))


def draw_lighthouse(drawing: Drawing, x: float, y: float, size: float) -> None:
    """Draw a red and white tower on a rock, with a beam when it is dark."""
    shade, canvas, bright = drawing.light.shade, drawing.canvas, drawing.light.shade_bright
    if drawing.lamps_lit:
        beam = [(0, -66), (-170, -92), (-170, -40)]
        # Towards the near edge: the moon is on the other side.
        outwards = -1 if x > SIDE / 2 else 1
        canvas.polygon(shifted(beam, x, y, size, outwards), mix(drawing.light.middle, (255, 240, 180), 0.45))
    rock = [(-36, 6), (-24, -7), (-8, -10), (16, -9), (28, -3), (38, 6)]
    canvas.polygon(shifted(rock, x, y, size, drawing.side), shade((96, 88, 90)))
    for row in range(4):
        low, high = 11.5 - row * 1.3, 10.2 - row * 1.3
        foot, head = -(8 + row * 13), -(21 + row * 13)
        band = [(-low, foot), (low, foot), (high, head), (-high, head)]
        canvas.polygon(shifted(band, x, y, size), bright((248, 248, 248) if row % 2 else (214, 46, 44)))
    canvas.rectangle(x - 9 * size, y - 62 * size, x + 9 * size, y - 59 * size, shade((60, 60, 70)))
    canvas.rectangle(x - 5 * size, y - 71 * size, x + 5 * size, y - 62 * size, (255, 232, 130))
    canvas.polygon(shifted([(-8, -70), (8, -70), (0, -80)], x, y, size), bright((200, 40, 40)))


def draw_balloon(drawing: Drawing, x: float, y: float, size: float, color: str) -> None:
    """Draw a hot-air balloon with stripes of the colour; (x, y) is its centre."""
    canvas, shade_bright = drawing.canvas, drawing.light.shade_bright
    plain, pale = shade_bright(COLORS[color]), shade_bright(mix(COLORS[color], WHITE, 0.6))
    for half, shoulder, foot, stripe in ((24, 20, 5, plain), (13, 11, 3, pale), (5.5, 4.4, 1.4, plain)):
        canvas.ellipse(x, y, half * size, 25 * size, stripe)
        canvas.polygon(shifted([(-shoulder, 13), (shoulder, 13), (foot, 32), (-foot, 32)], x, y, size), stripe)
    canvas.rectangle(x - 5 * size, y + 35 * size, x + 5 * size, y + 44 * size, shade_bright((120, 78, 46)))


def draw_road(drawing: Drawing, y: float) -> None:
    """Draw a road that crosses the whole image; a car's wheels stand at `y`."""
    shade, canvas = drawing.light.shade, drawing.canvas
    canvas.rectangle(0, y - 16, SIDE, y + 24, shade((92, 94, 102)))
    for left in range(0, SIDE, 48):
        canvas.rectangle(left, y + 8, left + 24, y + 13, shade((240, 236, 220)))


def draw_car(drawing: Drawing, x: float, y: float, size: float, color: str) -> None:
    """Draw a car whose wheels stand at `y`."""
    shade, canvas, flip = drawing.light.shade, drawing.canvas, drawing.rng.choice((-1, 1))
    body, glass = drawing.light.shade_bright(COLORS[color]), shade((198, 228, 244))
    roof, panes = (
        [(-19, -15), (-13, -29), (8, -29), (17, -15)],
        (
            [(-15, -16), (-11, -26), (-3.5, -26), (-3.5, -16)],
            [(-0.5, -16), (-0.5, -26), (7, -26), (13, -16)],
        ),
    )
    canvas.polygon(shifted(roof, x, y, size, flip), body)
    for pane in panes:
        canvas.polygon(shifted(pane, x, y, size, flip), glass)
    canvas.rounded_rect(x - 30 * size, y - 17 * size, x + 30 * size, y - 5 * size, 4.5 * size, body)
    lamp = (255, 240, 170) if drawing.lamps_lit else shade((255, 244, 200))
    canvas.polygon(shifted([(26, -14), (30, -14), (30, -10), (26, -10)], x, y, size, flip), lamp)
    for dx in (-17, 17):
        canvas.ellipse(x + dx * size, y - 6 * size, 7 * size, 7 * size, (24, 24, 30))
        canvas.ellipse(x + dx * size, y - 6 * size, 3 * size, 3 * size, shade((196, 196, 202)))


def draw_birds(drawing: Drawing, x: float, y: float) -> None:
    """Draw a flock of two to four birds around (x, y)."""
    ink = mix(drawing.light.horizon, WHITE, 0.35) if drawing.lamps_lit else mix(drawing.light.top, (20, 20, 40), 0.8)
    wings = [(-13, -6), (-7, -8), (0, 1), (7, -8), (13, -6), (7, -4), (0, 6), (-7, -4)]
    for dx, dy in drawing.rng.choice(FLOCKS):
        drawing.canvas.polygon(shifted(wings, x + dx, y + dy, 1), ink)


def draw_city(drawing: Drawing) -> None:
    """Draw a skyline: far towers, near buildings, and the street or the bank in front of them.

    Buildings stand on the grid of the latents' patches, and each patch of a near building has one window: a small
    network can then draw each window sharply, lit or dark.
    """
    _draw_far_towers(drawing)
    x = -PATCH * drawing.rng.choice((0, 1))
    while x < SIDE:
        width = PATCH * drawing.rng.choice(WIDTHS)
        _draw_building(drawing, x, width)
        x += width + drawing.rng.choice((0, 0, PATCH))
    _draw_street(drawing)


def _draw_far_towers(drawing: Drawing) -> None:
    """Draw pale towers without windows."""
    rng, light, base = drawing.rng, drawing.light, drawing.horizon
    color = mix(_wall(drawing, (104, 124, 156)), light.horizon, 0.55)
    x = -PATCH * rng.choice((0, 1, 2))
    while x < SIDE:
        width, height = PATCH * rng.choice((2, 2, 3)), drawing.snapped(base * 0.38, base * 0.66)
        _draw_roof(drawing, x, width, base - height, color)
        drawing.canvas.rectangle(x, base - height, x + width, base, color)
        x += width + PATCH * rng.choice((0, 1))


def _wall(drawing: Drawing, color: Color) -> Color:
    """Return the colour of a wall: dark against the windows' light at night."""
    shaded = drawing.light.shade(color)
    dark = {"night": 0.5, "dusk": 0.4, "sunset": 0.3}.get(drawing.scene.time, 0.0)
    return mix(shaded, mix(drawing.light.rock, drawing.light.horizon, drawing.light.haze), dark)


def _draw_building(drawing: Drawing, x: float, width: float) -> None:
    rng, base = drawing.rng, drawing.horizon
    wall = _wall(drawing, rng.choice(WALLS))
    rows = rng.randint(3, max(4, int(base * 0.68 / PATCH)))
    top = (base // PATCH - rows) * PATCH
    _draw_roof(drawing, x, width, top, wall)
    drawing.canvas.rectangle(x, top, x + width, base, wall)
    shade = 4 if drawing.side < 0 else 0
    drawing.canvas.rectangle(x + (width - 4 if shade else 0), top, x + (width if shade else 4), base, _darker(wall))
    glowing = drawing.scene.time in ("night", "dusk", "sunset")
    (_draw_bands if rng.random() < 0.25 else _draw_windows)(drawing, (x, top, x + width, base), wall, glowing=glowing)


def _glass(drawing: Drawing, wall: Color) -> Color:
    return mix(wall, drawing.light.shade(DARK_GLASS if sum(wall) > PALE else GLASS), 0.72)


def _darker(color: Color) -> Color:
    return mix(color, (10, 10, 40), 0.22)


def _draw_windows(drawing: Drawing, box: tuple[float, float, float, float], wall: Color, *, glowing: bool) -> None:
    """Draw one window in each patch of a wall, some of them dark at night."""
    left, top, right, bottom = box
    glass, dark = (LAMP, mix(wall, (0, 0, 30), 0.35)) if glowing else (_glass(drawing, wall), wall)
    columns = [left + STEP + PATCH * place for place in range(int((right - left) // PATCH))]
    y = top + STEP
    while y < bottom - STEP:
        for x in columns:
            lit = not glowing or drawing.rng.random() < 0.62
            drawing.canvas.rectangle(x - 3.5, y - 4, x + 3.5, y + 5, glass if lit else dark)
        y += PATCH


def _draw_bands(drawing: Drawing, box: tuple[float, float, float, float], wall: Color, *, glowing: bool) -> None:
    """Draw one band of windows in each floor."""
    left, top, right, bottom = box
    glass = LAMP if glowing else _glass(drawing, wall)
    y = top + STEP
    while y < bottom - STEP:
        if not glowing or drawing.rng.random() < 0.6:
            drawing.canvas.rectangle(left + 7, y - 3, right - 7, y + 4, glass)
        y += PATCH


def _draw_roof(drawing: Drawing, x: float, width: float, top: float, wall: Color) -> None:
    """Draw the roof of a building: flat, stepped, pointed, domed, or with an antenna."""
    kind, canvas, middle = drawing.rng.choice(("flat", "flat", "step", "spire", "dome", "gable")), drawing.canvas, 0.5
    centre = x + width * middle
    if kind == "step":
        half = width / 2 - STEP
        canvas.rectangle(centre - half, top - PATCH, centre + half, top, wall)
        canvas.rectangle(centre - 2, top - 2.5 * PATCH, centre + 2, top - PATCH, wall)
    elif kind == "spire":
        canvas.polygon([(x, top), (x + width, top), (centre, top - width * 0.9)], _darker(wall))
    elif kind == "dome":
        canvas.ellipse(centre, top, width / 2 - 4, width / 2 - 4, _darker(wall))
    elif kind == "gable":
        side = x if drawing.side < 0 else x + width
        canvas.polygon([(x, top), (x + width, top), (side, top - 1.5 * PATCH)], _darker(wall))


def _draw_street(drawing: Drawing) -> None:
    canvas, shade, base = drawing.canvas, drawing.light.shade, drawing.horizon
    if drawing.scene.water == "lake":
        canvas.rectangle(0, base - STEP, SIDE, base, shade((120, 112, 108)))
        return
    canvas.rectangle(0, base, SIDE, SIDE, shade((226, 230, 236) if drawing.snowy else (178, 176, 172)))
    canvas.rectangle(0, base + STEP, SIDE, SIDE, shade((84, 88, 98)))
    for left in range(STEP, 0 if drawing.has("car") else SIDE, 4 * STEP):
        canvas.rectangle(left, base + 3 * STEP, left + 2 * STEP, base + 3 * STEP + 5, shade((240, 236, 220)))
