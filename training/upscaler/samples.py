"""The upscaler's training set: large images, and the small ones that are made from them.

Small images are made as they usually come about: reduced with one of the usual filters, and sometimes blurred, noisy
or compressed as JPEG. The filters learn to undo all of it.
"""

# ruff: noqa: S311 - these random numbers draw images; they keep nothing secret

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from ..scenes.render import render
from ..scenes.spec import make_spec
from .textures import Pixels, draw_fractal, draw_gradient, draw_leaves, draw_strokes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIDE, COUNT = 512, 320
FILE = "large.npy"
# Seeds of rendered images, apart from those of the built-in model's training and from those of the comparison.
FIRST_SEED = 2_000_000
FILTERS = (Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BILINEAR)
# Shares of the kinds of images.
KINDS: tuple[tuple[float, Callable[[random.Random, int], Pixels]], ...] = (
    (0.30, lambda rng, side: expose(draw_leaves(rng, side), rng)),
    (0.24, lambda rng, side: expose(draw_fractal(rng, side), rng)),
    (0.12, draw_strokes),
    (0.02, draw_gradient),
)


def write_large_images(folder: Path, count: int = COUNT) -> None:
    """Draw `count` large images: `folder`/large.npy, uint8 [count, 512, 512, 3]; an existing file is kept."""
    path = folder / FILE
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    store = np.lib.format.open_memmap(path.with_suffix(".partial"), "w+", np.uint8, (count, SIDE, SIDE, 3))
    for number in range(count):
        store[number] = _draw_large(number)
    store.flush()
    path.with_suffix(".partial").replace(path)


def _draw_large(number: int) -> Pixels:
    rng = random.Random(f"large {number}")
    kind = rng.random()
    for share, draw in KINDS:
        if kind < share:
            return draw(rng, SIDE)
        kind -= share
    side = rng.choice((SIDE, SIDE, 2 * SIDE))
    left, top = (rng.randint(0, side - SIDE) for _ in range(2))
    return np.asarray(render(make_spec(FIRST_SEED + number), side).crop((left, top, left + SIDE, top + SIDE)))


def expose(levels: Pixels, rng: random.Random) -> Pixels:
    """Make a drawing softer and grainier, as a camera does: the filters must keep grain, and not sharpen all edges."""
    image = Image.fromarray(levels).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.3)))
    grain = np.random.default_rng(rng.randrange(2**32)).normal(0, rng.uniform(0, 6), (*levels.shape[:2], 1))
    return np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)


def shrink(image: Image.Image, rng: random.Random) -> Image.Image:
    """Halve an image, and degrade it as published images often are."""
    if rng.random() < 0.1:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    small = image.resize((image.width // 2, image.height // 2), rng.choice(FILTERS))
    if rng.random() < 0.06:
        noise = np.random.default_rng(rng.randrange(2**32)).normal(0, rng.uniform(1, 4), (small.height, small.width, 3))
        small = Image.fromarray(np.clip(np.asarray(small) + noise, 0, 255).astype(np.uint8))
    if rng.random() < 0.2:
        file = io.BytesIO()
        small.save(file, "JPEG", quality=rng.randint(70, 96))
        small = Image.open(file).convert("RGB")
    return small


def open_large_images(folder: Path) -> Pixels:
    """Open the large images, uint8 [n, 512, 512, 3], as a memory map."""
    images: Pixels = np.load(folder / FILE, mmap_mode="r")
    return images
