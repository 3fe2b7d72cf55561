"""An input image and a mask."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

BLUR = ImageFilter.GaussianBlur(2)


def photo(width: int, height: int) -> Image.Image:
    """Return an image of soft spots of many colours."""
    spots = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC)


def disc(width: int, height: int) -> Image.Image:
    """Return a mask with a soft, curved edge."""
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).ellipse((width // 5, height // 4, width * 4 // 5, height * 3 // 4), fill=255)
    return mask.filter(BLUR)


def png(image: Image.Image) -> bytes:
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()
