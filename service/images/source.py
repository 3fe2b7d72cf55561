"""The image that a job starts from, and its mask.

Two uploads become what the model gets, and are put back into the result. Transparent parts of the image are white. In a
mask white is repainted and black is kept; where it has an alpha channel, transparent is repainted, unless all of it is
opaque: then it says nothing, and brightness counts. In between counts as repainted from the middle on; in the finished
image it mixes both, so a soft mask gives a soft edge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from tintype.v1 import image_file
from tintype.v1.image_header import BadImage

from ..errors import InvalidField
from .encode import resample

if TYPE_CHECKING:
    from tintype.v1.image_file import Decoded

    from .encode import Pixels

Levels: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]
REPAINTED = 128  # levels of a mask, 0..255, from which on it says "repaint"


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A picture in the size that the model makes: levels [3, h, w], 0..255.

    `repaint` [h, w] is True where it is repainted; None is everywhere.
    """

    levels: Levels
    repaint: Mask | None = None

    @property
    def pixels(self) -> Pixels:
        """The picture as pixels [3, h, w], float32 in 0..1."""
        return np.asarray(self.levels, np.float32) / np.float32(255)


@dataclass(frozen=True, slots=True)
class Upload:
    """The files of a request: a picture and, if it is not empty, a mask of the same size."""

    image: bytes = field(repr=False)
    mask: bytes = field(default=b"", repr=False)

    def read(self) -> tuple[Image.Image, Image.Image | None]:
        """Return the image in RGB and the mask in 8-bit grey.

        255 is repainted entirely.

        Raises:
            InvalidField: a file can't be read, or the mask is of another size.
        """
        image = _decoded(self.image, "image").on_white()
        if not self.mask:
            return image, None
        mask = _repainted(_decoded(self.mask, "mask"))
        if mask.size != image.size:
            sizes = [f"{width}x{height}" for width, height in (image.size, mask.size)]
            raise InvalidField("mask", f"must have the size of image, {sizes[0]} pixels, not {sizes[1]}")
        return image, mask

    def over(self, picture: Image.Image) -> Image.Image:
        """Return `picture` with what is kept of the upload put over it; without a mask that is all."""
        image, mask = self.read()
        image = resample(image, picture.size)
        return Image.composite(picture, image, resample(mask, picture.size)) if mask else image


def source(image: Image.Image, mask: Image.Image | None, size: tuple[int, int]) -> Source:
    """Return what `Upload.read` gave in `size` (width, height), centred and cut where the shapes differ.

    Raises InvalidField: the mask names nothing, so that the picture would come back as it is.
    """
    if mask and np.asarray(mask).max() < REPAINTED:
        raise InvalidField("mask", "names nothing to repaint: make white, or transparent, what shall be made anew")
    levels = np.asarray(resample(image, size)).transpose(2, 0, 1)
    return Source(levels, np.asarray(resample(mask, size)) >= REPAINTED if mask else None)


def _decoded(data: bytes, field: str) -> Decoded:
    """Return an upload's image, upright; in sRGB unless it is a mask.

    Raises InvalidField.
    """
    try:
        return image_file.decode(data, mask=field == "mask")
    except BadImage as error:
        raise InvalidField(field, str(error)) from error


def _repainted(mask: Decoded) -> Image.Image:
    if mask.alpha is not None and mask.alpha.getextrema() != (255, 255):
        return ImageChops.invert(mask.alpha)
    return mask.image.convert("L")
