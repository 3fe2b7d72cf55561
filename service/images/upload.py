"""Uploads: the image that a job starts from, and its mask.

Uploads are decoded to the size that the model generates, and the kept parts are copied into the result.

- Image: transparent parts become white.
- Mask: white is repainted, black is kept. If the mask has an alpha channel that is not opaque throughout, transparent
  parts are repainted instead, and brightness does not count.
- Grey levels: the model repaints from the middle level on; in the result they blend both images, so that a soft mask
  gives a soft edge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from tintype.v1 import image_file
from tintype.v1.image_parts import BadImage

from ..errors import InvalidField
from .pixels import Levels, resample

if TYPE_CHECKING:
    from tintype.v1.image_file import DecodedImage

Mask: TypeAlias = npt.NDArray[np.bool_]
REPAINTED = 128  # lowest level of a mask, 0..255, that is repainted


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An image in the size that the model generates: levels [3, h, w], 0..255.

    `repaint` [h, w] is True where the image is repainted; None repaints all of it.
    """

    levels: Levels
    repaint: Mask | None = None

    @property
    def pixels(self) -> npt.NDArray[np.float32]:
        """The image as pixels [3, h, w], float32 in 0..1."""
        return np.asarray(self.levels, np.float32) / np.float32(255)


@dataclass(frozen=True, slots=True)
class Upload:
    """The files of a request: an image and a mask of the same size, empty without one."""

    image: bytes = field(repr=False)
    mask: bytes = field(default=b"", repr=False)

    def read(self) -> tuple[Image.Image, Image.Image | None]:
        """Return the image in RGB and the mask in 8-bit grey, where 255 is repainted entirely.

        Raises:
            InvalidField: a file is unreadable, or the mask has another size.
        """
        image = decode(self.image, "image").on_white()
        if not self.mask:
            return image, None
        mask = _mask_levels(decode(self.mask, "mask"))
        if mask.size != image.size:
            sizes = [f"{width}x{height}" for width, height in (image.size, mask.size)]
            raise InvalidField("mask", f"must have the size of image, {sizes[0]} pixels, not {sizes[1]}")
        return image, mask

    def restore_kept(self, generated: Image.Image) -> Image.Image:
        """Return `generated` with the kept parts of the upload; without a mask all of it is kept."""
        image, mask = self.read()
        image = resample(image, generated.size)
        return Image.composite(generated, image, resample(mask, generated.size)) if mask else image


def make_source(image: Image.Image, mask: Image.Image | None, size: tuple[int, int]) -> Source:
    """Return an image and a mask in `size` (width, height), cropped to the centre if the aspect ratio differs.

    Raises InvalidField if the mask repaints nothing, so that the result would equal the upload.
    """
    if mask and np.asarray(mask).max() < REPAINTED:
        raise InvalidField("mask", "repaints nothing: make the parts to repaint white or transparent")
    levels = np.asarray(resample(image, size)).transpose(2, 0, 1)
    return Source(levels, np.asarray(resample(mask, size)) >= REPAINTED if mask else None)


def decode(data: bytes, field: str) -> DecodedImage:
    """Return an upload's image, upright, and in sRGB unless it is a mask. Raises InvalidField."""
    try:
        return image_file.decode(data, mask=field == "mask")
    except BadImage as error:
        raise InvalidField(field, str(error)) from error


def _mask_levels(mask: DecodedImage) -> Image.Image:
    if mask.alpha is not None and mask.alpha.getextrema() != (255, 255):
        return ImageChops.invert(mask.alpha)
    return mask.image.convert("L")
