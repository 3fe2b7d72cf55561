"""The colours of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def colour(image: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    """Return red, green and blue at `place`, each 0 to 255."""
    found = image.convert("RGB").getpixel(place)
    assert isinstance(found, tuple)
    return found
