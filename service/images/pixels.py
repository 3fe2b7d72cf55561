"""Pixels as Pillow images, and resampling."""

from __future__ import annotations

from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Levels: TypeAlias = npt.NDArray[np.uint8]
Pixels: TypeAlias = npt.NDArray[np.float32] | Levels
"""An image [3, h, w]: float32 in 0..1, or levels, 0..255."""


def to_image(pixels: Pixels) -> Image.Image:
    """Return pixels as an 8-bit RGB image, rounded as diffusers does."""
    return Image.fromarray(np.ascontiguousarray(to_levels(pixels).transpose(1, 2, 0)))


def to_levels(pixels: Pixels) -> Levels:
    """Return pixels as levels, 0..255."""
    if pixels.dtype == np.uint8:
        return cast("Levels", pixels)
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def to_floats(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Return pixels as float32 in 0..1."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels / np.float32(255), np.float32)
    return cast("npt.NDArray[np.float32]", pixels)


def resample(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """Return `image` in `size` (width, height), resampled by Lanczos; another aspect ratio is cropped to the centre."""
    if size is None or size == image.size:
        return image
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
