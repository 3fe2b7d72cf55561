"""The colours of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


def colour(image: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    """Return red, green and blue at `place`, each 0 to 255."""
    found = image.convert("RGB").getpixel(place)
    assert isinstance(found, tuple)
    return found


def in_floats(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as float32 in 0..1: images that a device decodes are levels."""
    return pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels
