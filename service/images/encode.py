"""Encoding of pixels as PNG, JPEG and WebP files, in the requested size.

All functions are pure. Pillow releases Python's lock while it encodes, so a thread pool encodes in parallel.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import PngImagePlugin

from tintype.v1.limits import MIME_TYPES

from ..errors import check_choice, check_range
from .mark import MAX_JPEG_XMP, add_to_png, packet
from .metadata import exif, png_text
from .pixels import resample, to_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from .mark import Mark
    from .metadata import Recorded
    from .pixels import Pixels
    from .upload import Upload

LOSSLESS = 100  # the quality from which on WebP is lossless


@dataclass(frozen=True, slots=True)
class Output:
    """How images are encoded. `quality`, 0 to 100, applies to JPEG and WebP; `metadata` writes the parameters."""

    mime_type: str = "image/png"
    quality: int = 95
    metadata: bool = True
    alpha: bool = False

    def __post_init__(self) -> None:
        check_choice("output.mime_type", self.mime_type, MIME_TYPES)
        check_range("output.quality", self.quality, 0, 100)


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An encoded file, and its size in pixels."""

    data: bytes
    mime_type: str
    width: int
    height: int


class Notes(NamedTuple):
    """What is written into the metadata of a file: how the image was made, and its mark; None writes nothing."""

    recorded: Recorded | None = None
    mark: Mark | None = None


def encode(
    pixels: Pixels,
    output: Output,
    *,
    size: tuple[int, int] | None = None,
    kept: Upload | None = None,
    parameters: Recorded | None = None,
    mark: Mark | None = None,
    check: Callable[[Image.Image], None] | None = None,
) -> EncodedImage:
    """Encode pixels [3, h, w].

    `size` is the requested width and height (None: that of the pixels). The parts of `kept` that its mask keeps are
    copied into the result. `parameters` and `mark` are written into the file's metadata. `check` is called with the
    image before it is encoded, and may raise an error.
    """
    image = resample(to_image(pixels), size)
    if kept is not None:
        image = kept.restore_kept(image)
    if check is not None:
        check(image)
    return encode_image(image, output, parameters=parameters, mark=mark)


def encode_image(
    image: Image.Image, output: Output, *, parameters: Recorded | None = None, mark: Mark | None = None
) -> EncodedImage:
    """Encode an image in mode RGB, or RGBA for PNG and WebP, with its metadata; arguments as in `encode`."""
    if output.alpha and output.mime_type == "image/png" and image.mode == "RGB":
        image.putalpha(255)  # WebP drops an alpha channel that is opaque throughout
    file = BytesIO()
    ENCODERS[output.mime_type](image, file, output, Notes(parameters, mark))
    return EncodedImage(file.getvalue(), output.mime_type, image.width, image.height)


def _png(image: Image.Image, file: BytesIO, _output: Output, notes: Notes) -> None:
    info = png_text(notes.recorded) if notes.recorded else PngImagePlugin.PngInfo()
    if notes.mark:
        add_to_png(notes.mark, info)
    # Level 6 takes 2.5 to 4.5 times as long for files 15 % smaller.
    image.save(file, "PNG", compress_level=1, pnginfo=info)


def _jpeg(image: Image.Image, file: BytesIO, output: Output, notes: Notes) -> None:
    own = _metadata(notes, MAX_APP1, MAX_JPEG_XMP)
    image.save(file, "JPEG", quality=output.quality, subsampling="4:4:4", **own)


def _webp(image: Image.Image, file: BytesIO, output: Output, notes: Notes) -> None:
    # Method 0, the fastest, still makes smaller files than PNG at level 1.
    effort = {"lossless": True, "method": 0} if output.quality >= LOSSLESS else {"quality": output.quality}
    image.save(file, "WEBP", **effort, **_metadata(notes))


def _metadata(notes: Notes, exif_limit: int | None = None, xmp_limit: int | None = None) -> dict[str, Any]:
    """Return the options of Pillow that write notes into JPEG and WebP; limits are bytes."""
    own = {"exif": exif(notes.recorded, exif_limit)} if notes.recorded else {}
    return own | ({"xmp": packet(notes.mark, xmp_limit)} if notes.mark else {})


MAX_APP1 = 65_000  # bytes of EXIF in a JPEG: its segment holds 65,533, header included
ENCODERS: dict[str, Callable[[Image.Image, BytesIO, Output, Notes], None]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
}
