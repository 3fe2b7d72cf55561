"""Sixteen prompts, one picture each: what a stranger looks at first.  The seeds are 0 to 15, not chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .pipeline import Painter
from .score import tiled

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

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


def grid(folder: Path, side: int = 256) -> Image.Image:
    """Four rows of four pictures."""
    painter = Painter(folder)
    pictures = [painter.paint([prompt], [seed])[0] for seed, prompt in enumerate(PROMPTS)]
    return tiled(pictures, columns=4, side=side)
