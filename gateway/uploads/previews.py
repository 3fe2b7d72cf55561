"""Enlarge previews to the size of the image; the service sends them in the size of its latents."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image, PngImagePlugin

from tintype.v1 import image_service_pb2 as pb

LATENT_SCALE = 8  # pixels of an image for one of its preview, of all models that edit
MIME_TYPE = "image/png"  # requested from the service: small and lossless
SIDE_LIMITS = (16, 4096)  # pixels, the contract's limits
# A preview is visible for about a second, so speed matters more than size.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "image/png": ("PNG", {"compress_level": 1}),
    "image/jpeg": ("JPEG", {"quality": 85}),
    "image/webp": ("WEBP", {"quality": 80, "method": 0}),
}


def size_from_start_image(start_size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Return the size (width, height) that the service chooses, given the start image's and the requested one.

    A requested side of 0 is not set. The aspect ratio of `start_size` is kept as far as the limits of a side allow.
    """
    if width and height:
        return width, height
    default_scale = min(max(1.0, SIDE_LIMITS[0] / min(start_size)), SIDE_LIMITS[1] / max(start_size))
    scale = width / start_size[0] if width else height / start_size[1] if height else default_scale
    scaled_width, scaled_height = (min(max(round(side * scale), SIDE_LIMITS[0]), SIDE_LIMITS[1]) for side in start_size)
    return width or scaled_width, height or scaled_height


def enlarge_preview(preview: pb.Preview, size: tuple[int, int], mime_type: str) -> pb.Preview:
    """Return a preview resized to `size` (width, height), encoded as `mime_type`. Takes milliseconds.

    It keeps the service's mark. With a size of zeros, which is not known for edits, it follows from the preview's.
    """
    format_, options = FORMATS[mime_type]
    file = BytesIO()
    with Image.open(BytesIO(preview.data)) as small:
        size = size if all(size) else _edited_size(small.size)
        resized = small.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        resized.save(file, format_, **options, **_mark_of(small, format_))
    large = pb.Preview(data=file.getvalue(), mime_type=mime_type, width=size[0], height=size[1])
    large.index, large.step, large.preview_index = preview.index, preview.step, preview.preview_index
    return large


def _mark_of(preview: Image.Image, format_: str) -> dict[str, Any]:
    """Return the options that write the XMP packet of a preview into a file of `format_`."""
    packet = preview.info.get("xmp")
    if not packet:
        return {}
    if format_ != "PNG":
        return {"xmp": packet}
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode())
    return {"pnginfo": info}


def _edited_size(preview: tuple[int, int]) -> tuple[int, int]:
    return min(preview[0] * LATENT_SCALE, SIDE_LIMITS[1]), min(preview[1] * LATENT_SCALE, SIDE_LIMITS[1])
