"""Pixels as Pillow images, and resampling."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Pixels: TypeAlias = npt.NDArray[np.float32]


def to_image(pixels: Pixels) -> Image.Image:
    """Return pixels [3, h, w], float32 in 0..1, as an 8-bit RGB image, rounded as diffusers does."""
    levels = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))


def resample(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """Return `image` in `size` (width, height), resampled by Lanczos; another aspect ratio is cropped to the centre."""
    if size is None or size == image.size:
        return image
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
