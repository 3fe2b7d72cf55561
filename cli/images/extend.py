"""Outpainting: an image on a larger canvas, and the mask of the part that is new."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from tintype.v1.limits import MAX_SIDE, MAX_UPLOAD_PIXELS

from ..errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

SIDES = ("left", "top", "right", "bottom")
OVERLAP = 8  # pixels of the image at each new side that are repainted too, for a softer seam
EXAMPLE = "left=128,right=128"
_PART = re.compile(r"([a-z]{1,10})=([1-9]\d{0,3})")


def parse_sides(text: str) -> dict[str, int]:
    """Return the pixels to add at each side, of SIDE=N,... Raises UserError."""
    matches = [_PART.fullmatch(part.strip()) for part in text.split(",")]
    found = {match[1]: int(match[2]) for match in matches if match}
    if not all(matches) or len(found) < len(matches) or not found.keys() <= {*SIDES}:
        raise UserError(f"--extend must be SIDE=PIXELS,... of {', '.join(SIDES)}, for example {EXAMPLE}; got {text!r}")
    return found


def extend(data: bytes, sides: Mapping[str, int]) -> tuple[bytes, bytes]:
    """Return a PNG of an image with `sides` added, which continue its edges, and the mask of what is new.

    Raises:
        UserError: the file is not an image, or the result is too large.
    """
    pixels = np.asarray(_open(data))
    left, top, right, bottom = (sides.get(side, 0) for side in SIDES)
    height, width = pixels.shape[0] + top + bottom, pixels.shape[1] + left + right
    if max(width, height) > MAX_SIDE:
        raise UserError(f"--extend: each side must have at most {MAX_SIDE} pixels; got {width}x{height}")
    around = (top, bottom), (left, right)
    mask = np.full((height, width), 255, np.uint8)
    first, last = (_edge(top, 0), _edge(left, 0)), (_edge(bottom, height), _edge(right, width))
    mask[first[0] : last[0], first[1] : last[1]] = 0
    return _png(Image.fromarray(np.pad(pixels, (*around, (0, 0)), mode="edge"))), _png(Image.fromarray(mask))


def _edge(added: int, end: int) -> int:
    """Return where the kept part begins (`end` 0) or ends."""
    inset = added + OVERLAP if added else 0
    return end - inset if end else inset


def _open(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MAX_UPLOAD_PIXELS:
                raise UserError(
                    f"--image must have at most {MAX_UPLOAD_PIXELS} pixels; got {image.width}x{image.height}"
                )
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError("--image must be a PNG, JPEG or WebP file to be extended") from error


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
