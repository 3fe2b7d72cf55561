"""Draw images for the upscaler's training that have what photographs have: edges, textures, shading and letters.

Dead leaves are opaque shapes of all sizes on top of each other. Their edges and sizes are distributed like those of
photographs (Lee, Mumford and Huang, "Occlusion models for natural images", 2001). Fractal noise has their spectrum.
All images are uint8 [side, side, 3].
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    import random

Pixels = NDArray[np.uint8]
# Drawings are made at twice their side and reduced, so that edges are antialiased.
OVERSAMPLING = 2
LETTERS = string.ascii_letters + string.digits + ".,:;!?&%()+-"


def draw_fractal(rng: random.Random, side: int) -> Pixels:
    """Draw noise whose amplitude falls with the frequency, between two or three colours."""
    numbers = np.random.default_rng(rng.randrange(2**32))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(numbers.standard_normal((side, side))) / frequency ** rng.uniform(0.6, 1.8)
    field = np.fft.irfft2(spectrum, (side, side))
    low, high = np.quantile(field, (0.01, 0.99))
    share = np.clip((field - low) / (high - low), 0, 1)
    colors = numbers.integers(0, 256, (rng.choice((2, 3)), 3))
    places = np.linspace(0, 1, len(colors))
    return np.stack([np.interp(share, places, colors[:, channel]) for channel in range(3)], -1).astype(np.uint8)


def draw_leaves(rng: random.Random, side: int) -> Pixels:
    """Draw dead leaves: ellipses and polygons of all sizes, some of them textured."""
    scaled = side * OVERSAMPLING
    image = Image.new("RGB", (scaled, scaled), _color(rng))
    textures = [Image.fromarray(draw_fractal(rng, side)).resize((scaled, scaled)) for _ in range(2)]
    for _ in range(rng.randint(150, 700)):
        size = min(scaled / 3, 6 * OVERSAMPLING / max(1e-3, rng.random()) ** 0.7)
        x, y = rng.uniform(0, scaled), rng.uniform(0, scaled)
        if rng.random() < 0.6:
            _draw_leaf(ImageDraw.Draw(image), rng, (x, y), size, _color(rng))
        else:
            mask = Image.new("L", (round(2 * size), round(2 * size)))
            _draw_leaf(ImageDraw.Draw(mask), rng, (size, size), size, 255)
            corner = (round(x - size), round(y - size))
            shown = rng.choice(textures).crop((*corner, corner[0] + mask.width, corner[1] + mask.height))
            image.paste(shown, corner, mask)
    return np.asarray(image.reduce(OVERSAMPLING))


def _color(rng: random.Random) -> tuple[int, int, int]:
    gray, spread = rng.randrange(256), rng.choice((20, 60, 120))
    red, green, blue = (max(0, min(255, gray + rng.randint(-spread, spread))) for _ in range(3))
    return red, green, blue


def _draw_leaf(
    draw: ImageDraw.ImageDraw,
    rng: random.Random,
    centre: tuple[float, float],
    size: float,
    fill: int | tuple[int, int, int],
) -> None:
    x, y = centre
    if rng.random() < 0.5:
        wide, high = size * rng.uniform(0.4, 1), size * rng.uniform(0.4, 1)
        draw.ellipse([x - wide, y - high, x + wide, y + high], fill=fill)
        return
    corners = [(x + rng.uniform(-size, size), y + rng.uniform(-size, size)) for _ in range(rng.randint(3, 5))]
    draw.polygon(corners, fill=fill)


def draw_strokes(rng: random.Random, side: int) -> Pixels:
    """Draw lines of letters and thin strokes on a plain, shaded or textured ground."""
    scaled = side * OVERSAMPLING
    ground = draw_fractal(rng, side) if rng.random() < 0.3 else draw_gradient(rng, side)
    image = Image.fromarray(ground).resize((scaled, scaled))
    draw, y = ImageDraw.Draw(image), rng.uniform(0, 20)
    while y < scaled:
        size = rng.choice((18, 24, 32, 48, 80))
        words = "".join(rng.choice(LETTERS + "    ") for _ in range(60))
        draw.text((rng.uniform(-20, 60), y), words, fill=_color(rng), font=ImageFont.load_default(size))
        y += size * rng.uniform(1.1, 2)
    for _ in range(rng.randint(0, 24)):
        points = [(rng.uniform(0, scaled), rng.uniform(0, scaled)) for _ in range(rng.randint(2, 4))]
        draw.line(points, fill=_color(rng), width=rng.choice((2, 3, 4, 6, 10)), joint="curve")
    return np.asarray(image.reduce(OVERSAMPLING))


def draw_gradient(rng: random.Random, side: int) -> Pixels:
    """Draw a smooth change of colour between four corners."""
    corners = np.array([_color(rng) for _ in range(4)], np.uint8).reshape(2, 2, 3)
    return np.asarray(Image.fromarray(corners).resize((side, side), Image.Resampling.BICUBIC))
