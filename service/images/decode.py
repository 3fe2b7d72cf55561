"""Files that strangers sent, to levels of 8 bits: only PNG, JPEG and WebP, and never a decompression bomb.

The type is judged by the file's first bytes, the size by its header; nothing is decoded before both are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import InvalidField

MAX_SIDE = 8192  # pixels
MAX_PIXELS = 4096 * 4096  # take 64 MiB as RGBA

# What Pillow raises on files that are cut, damaged or hostile.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, ZeroDivisionError)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture in RGB, and its `alpha` in grey, 255 is opaque; None where the file has none."""

    image: Image.Image
    alpha: Image.Image | None


def sniff(data: bytes) -> str | None:
    """Return the MIME type that the first bytes of `data` tell, or None where it is none of ours."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def decode(data: bytes, *, field: str = "image") -> Decoded:
    """Return the picture in `data`, turned upright as its EXIF orientation says.

    Raises InvalidField for `field` where it is no PNG, JPEG or WebP file, damaged, or too large.
    """
    if sniff(data) is None:
        raise InvalidField(field, "must be a PNG, JPEG or WebP file")
    try:
        with Image.open(BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as image:
            _check_size(image, field)
            return _decoded(ImageOps.exif_transpose(image))
    except _BOMB:
        raise InvalidField(field, f"must have at most {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise InvalidField(field, "is damaged: its header can't be read") from None
    except _UNREADABLE as error:
        raise InvalidField(field, f"is damaged: {error}") from error


def _check_size(image: Image.Image, field: str) -> None:
    width, height = image.size
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InvalidField(field, f"must have at most {MAX_PIXELS} pixels, not {width}x{height}")


def _decoded(image: Image.Image) -> Decoded:
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow's own conversion would clip instead of scaling
        levels = (np.asarray(image, np.float32) / np.float32(257)).round().astype(np.uint8)
        return Decoded(Image.fromarray(levels).convert("RGB"), None)
    if not image.has_transparency_data:
        return Decoded(image.convert("RGB"), None)
    image = image.convert("RGBA")
    return Decoded(image.convert("RGB"), image.getchannel("A"))
