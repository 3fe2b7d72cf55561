"""Images to edit, in the sizes in which models read them: one function for each `ReferenceFit`.

Each function resizes an image as diffusers' pipeline does, so that a request gives the same image as there.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..errors import InvalidField
from ..models.model import Reference
from ..models.spec import ReferenceFit
from ..models.text.vision import SIDE
from .upload import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from ..models.spec import ReferenceRule, Size

AREA = 1024 * 1024  # pixels
MULTIPLE = 16  # pixels of a token of FLUX.1 and FLUX.2
CLIP_SIDE = 224  # pixels of what the image encoders of IP-Adapters read
QWEN_MULTIPLE = 32  # pixels
# The sizes on which FLUX.1 Kontext was trained.
KONTEXT_SIZES = (
    *((672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104)),
    *((1024, 1024), (1104, 944), (1184, 880), (1248, 832), (1328, 800), (1392, 752), (1456, 720), (1504, 688)),
    (1568, 672),
)


def read(data: bytes, field: str) -> Image.Image:
    """Return a file as an RGB image, upright, on white. Raises InvalidField."""
    return decode(data, field).on_white()


def make_reference(image: Image.Image, rule: ReferenceRule, field: str = "references") -> Reference:
    """Return an image as a model with this rule reads it.

    Raises:
        InvalidField: the image is too small, or too long and narrow.
    """
    check_shape(image, field)
    levels = levels_of(FITS[rule.fit](image))
    seen = levels_of(_seen(image, rule.seen)) if rule.seen else None
    return _with_digest(levels, seen)


def _seen(image: Image.Image, area: int) -> Image.Image:
    """Return an image as Qwen2.5-VL's processor resizes it: to about `area` pixels, then to whole tokens."""
    resized = stretched(image, qwen_size(image.size, area))
    width, height = (round(side / SIDE) * SIDE for side in resized.size)
    return resized if resized.size == (width, height) else resized.resize((width, height), Image.Resampling.BICUBIC)


def source_reference(levels: npt.NDArray[np.uint8]) -> Reference:
    """Return the image that a result starts from, levels [3, h, w], as an image to edit."""
    return _with_digest(levels, None)


def _with_digest(levels: npt.NDArray[np.uint8], seen: npt.NDArray[np.uint8] | None) -> Reference:
    return Reference(levels, seen, digest_of(*(each for each in (levels, seen) if each is not None)))


def digest_of(*arrays: npt.NDArray[np.uint8]) -> bytes:
    """Return 16 bytes that identify the contents and shapes of arrays."""
    content = b"".join(each.tobytes() + repr(each.shape).encode() for each in arrays)
    return hashlib.blake2b(content, digest_size=16).digest()


def clip_image(image: Image.Image, side: int = CLIP_SIDE) -> Image.Image:
    """Return the middle square of an image, resized as transformers' CLIPImageProcessor does."""
    short = min(image.size)
    width, height = (int(side * each / short) for each in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def check_shape(image: Image.Image, field: str) -> None:
    """Raise InvalidField unless both sides have at least 64 pixels and one is at most 8 times the other."""
    width, height = image.size
    if min(width, height) < 64 or max(width, height) > 8 * min(width, height):
        wanted = "at least 64 pixels wide and high, and at most 8 times as long as wide"
        raise InvalidField(field, f"must be {wanted}, not {width}x{height}")


def result_size(reference: Reference) -> Size:
    """Return the size of a result that has the shape of an image to edit."""
    height, width = reference.levels.shape[1:]
    return width, height


def kontext(image: Image.Image) -> Image.Image:
    """Stretch to the trained size whose aspect ratio is nearest to that in whole tokens: FLUX.1 Kontext."""
    ratio = (image.width // MULTIPLE) / (image.height // MULTIPLE)
    return stretched(image, min(KONTEXT_SIZES, key=lambda size: abs(ratio - size[0] / size[1])))


def flux2(image: Image.Image) -> Image.Image:
    """Shrink to at most 1024 x 1024 pixels, and crop to multiples of 16: FLUX.2."""
    if image.width * image.height > AREA:
        scale = math.sqrt(AREA / (image.width * image.height))
        image = stretched(image, (int(image.width * scale), int(image.height * scale)))
    width, height = (side // MULTIPLE * MULTIPLE for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def qwen(image: Image.Image) -> Image.Image:
    """Stretch to about 1024 x 1024 pixels, in multiples of 32: Qwen-Image-Edit."""
    return stretched(image, qwen_size(image.size, AREA))


def qwen_size(size: Size, area: int) -> Size:
    """Return the size of about `area` pixels with the aspect ratio of `size`, in multiples of 32."""
    ratio = size[0] / size[1]
    width = math.sqrt(area * ratio)
    return _multiple(width), _multiple(width / ratio)


FITS: dict[ReferenceFit, Callable[[Image.Image], Image.Image]] = {
    ReferenceFit.KONTEXT: kontext,
    ReferenceFit.FLUX2: flux2,
    ReferenceFit.QWEN: qwen,
}


def _multiple(side: float) -> int:
    return round(side / QWEN_MULTIPLE) * QWEN_MULTIPLE


def stretched(image: Image.Image, size: Size) -> Image.Image:
    """Return an image in `size` (width, height), resampled by Lanczos without keeping its aspect ratio."""
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def levels_of(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return levels [3, h, w], 0..255."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
