"""Contact sheets: many small images in one, to look at the model and its training data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from ..scenes.dataset import ImageArray, render_pixels
from .pipeline import OnnxPipeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# The seed of a prompt is its index, 0 to 15; seeds are not selected.
PROMPTS = (
    "A serene mountain lake at sunset",
    "a mountain lake at night under a full moon",
    "snowy mountains on a bright day",
    "sunrise over rolling hills with a hot air balloon",
    "a tropical beach with a palm tree at sunset",
    "a lighthouse by the sea at night",
    "a sailboat on the ocean during the day",
    "city skyline at night",
    "desert dunes with a cactus at sunset",
    "a foggy pine forest in the morning",
    "a red house in a flower meadow at noon",
    "a yellow car in the desert",
    "a red circle on a blue background",
    "a green triangle next to a yellow square",
    "a white star on a purple background",
    "a pink heart above a black diamond on a yellow background",
)


def generate_sheet(folder: Path, side: int = 256) -> Image.Image:
    """Generate one image for each of `PROMPTS` with the model in `folder`: four rows of four."""
    pipeline = OnnxPipeline(folder)
    images = [pipeline.generate([prompt], [seed])[0] for seed, prompt in enumerate(PROMPTS)]
    return tile(images, columns=4, side=side)


def render_sheet(first: int = 0, count: int = 48, columns: int = 8, side: int = 160) -> Image.Image:
    """Render `count` training images from seed `first` on."""
    return tile([render_pixels(seed) for seed in range(first, first + count)], columns, side)


def tile(images: Sequence[ImageArray], columns: int, side: int) -> Image.Image:
    """Put images into rows of `columns`, each resized to `side`."""
    sheet = Image.new("RGB", (columns * side, -(-len(images) // columns) * side))
    for place, image in enumerate(images):
        small = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(small, (place % columns * side, place // columns * side))
    return sheet
