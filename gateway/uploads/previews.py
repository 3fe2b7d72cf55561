"""Previews as large as the picture: the service sends them as small as its latents, and clients lay them over it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image

from tintype.v1 import image_service_pb2 as pb

MIME_TYPE = "image/png"  # what the service is asked for: small, and nothing is lost
SIDES = (16, 4096)  # pixels, the contract's limits
# A preview is looked at for a second: what counts is how soon it is there.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "image/png": ("PNG", {"compress_level": 1}),
    "image/jpeg": ("JPEG", {"quality": 85}),
    "image/webp": ("WEBP", {"quality": 80, "method": 0}),
}


def size_like(own: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Return the sides that the service gives what starts from a picture with `own`; 0 is a side not asked for.

    It keeps the picture's shape, as far as there may be such sides.
    """
    if width and height:
        return width, height
    least = min(max(1.0, SIDES[0] / min(own)), SIDES[1] / max(own))
    scale = width / own[0] if width else height / own[1] if height else least
    across, down = (min(max(round(side * scale), SIDES[0]), SIDES[1]) for side in own)
    return width or across, height or down


def enlarged(preview: pb.Preview, size: tuple[int, int], mime_type: str) -> pb.Preview:
    """Return a preview with `size` pixels (width, height) and as a file of `mime_type`. Takes milliseconds."""
    format_, options = FORMATS[mime_type]
    file = BytesIO()
    with Image.open(BytesIO(preview.data)) as small:
        small.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(file, format_, **options)
    large = pb.Preview(data=file.getvalue(), mime_type=mime_type, width=size[0], height=size[1])
    large.index, large.step, large.preview_index = preview.index, preview.step, preview.preview_index
    return large
