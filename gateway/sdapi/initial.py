"""The picture that a request starts from, and its mask, as the web UI understands them: to what the service takes.

- Transparent parts of an image are white.
- A mask is brightness, white is repainted; where it has an alpha channel that is not opaque throughout, that counts in
  the place of brightness: opaque is repainted.
- `resize_mode`: 0 stretches, 1 keeps the shape and cuts, 2 keeps the shape and continues the edges.
- `inpainting_fill` 0 puts colours from around the mask into it; everything else starts from the picture as it is.
- `inpaint_full_res` makes only what is around the mask, at full size, and puts it into the picture.

All of it is pure, and takes tens of milliseconds: it runs in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, ImageFilter, ImageOps

from tintype.v1 import image_file
from tintype.v1.image_header import BadImage

from ..errors import BadPicture
from ..uploads.reading import MAX_TOGETHER
from .filetext import KEY, written

if TYPE_CHECKING:
    from tintype.v1.image_file import Decoded

    from .types import ImageToImage

    Picture = Image.Image
    Size = tuple[int, int]

FORMATS = ("PNG", "JPEG", "WEBP")
LANCZOS = Image.Resampling.LANCZOS
OPAQUE = (255, 255)
BLUR = 4  # pixels, the web UI's default
# How a picture that was put together is encoded, as the service does it.
OPTIONS: dict[str, dict[str, int]] = {
    "PNG": {"compress_level": 1},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
}


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of a picture that is made by itself: `box` (left, top, right, bottom) in pixels of `whole`."""

    whole: Picture
    mask: Picture
    box: tuple[int, int, int, int]

    def into(self, file: bytes) -> bytes:
        """Return the whole picture with a file in its place, of the same type and with the same text."""
        with Image.open(BytesIO(file), formats=FORMATS) as made:
            kind, text, exif = str(made.format), made.info.get(KEY), made.info.get("exif")
            part = made.convert("RGB").resize(_size(self.box), LANCZOS)
        whole = self.whole.copy()
        whole.paste(part, self.box[:2])
        done = encoded(Image.composite(whole, self.whole, self.mask), kind, exif)
        return written(done, text) if text else done


@dataclass(frozen=True, slots=True)
class Initial:
    """What the service is sent, as PNG files, in `size` (width, height); `patch` is where results belong."""

    image: bytes
    mask: bytes
    size: tuple[int, int]
    patch: Patch | None = None


def prepared(asked: ImageToImage, image_bytes: bytes, mask_bytes: bytes) -> Initial:
    """Return what `asked` makes of an image and an optional mask.

    The mask may be empty. Raises BadPicture.
    """
    image = opened(image_bytes, "init_images").on_white()
    size = (asked.width or image.width, asked.height or image.height)
    mask = _mask(opened(mask_bytes, "mask"), asked) if mask_bytes else None
    patch = _patch(image, mask, size, asked) if mask else None
    if patch and mask:
        image, mask = (one.crop(patch.box).resize(size, LANCZOS) for one in (image, patch.mask))
    else:
        image = resized(image, size, asked.resize_mode or 0)
        mask = resized(mask, size, asked.resize_mode or 0) if mask else None
    if mask and not asked.inpainting_fill:
        image = filled(image, mask)
    files = encoded(image), encoded(mask) if mask else b""
    if sum(map(len, files)) > MAX_TOGETHER:
        raise BadPicture("init_images", f"must, with the mask, have at most {MAX_TOGETHER} bytes as PNG")
    return Initial(*files, size, patch)


def resized(image: Picture, size: Size, mode: int) -> Picture:
    """Return a picture in `size`, stretched, cut, or continued at its edges."""
    if mode == 1:
        return ImageOps.fit(image, size, LANCZOS)
    if mode == 2:
        inner = image.resize(_contained(image.size, size), LANCZOS)
        return _turned(_widened(_turned(_widened(inner, size[0])), size[1]))
    return image.resize(size, LANCZOS)


def _contained(own: Size, size: Size) -> Size:
    """Return the largest sides of an image's shape within `size`.

    Each is at least one pixel.
    """
    width, height = own
    if width * size[1] > height * size[0]:
        return size[0], max(1, round(height * size[0] / width))
    return max(1, round(width * size[1] / height)), size[1]


def filled(image: Picture, mask: Picture) -> Picture:
    """Return a picture whose masked part has the colours around it: coarse far from the edge, fine near it.

    Each level is half as large as the one before, and shines through where that one knows nothing
    (Gortler et al., The Lumigraph, 1996, section 3.5: pull and push).
    """
    known = image.convert("RGBA")
    known.putalpha(ImageOps.invert(mask))
    return _pulled(known.convert("RGBa")).convert("RGB")


def _pulled(level: Picture) -> Picture:
    if max(level.size) == 1:
        colour = level.convert("RGBA")
        colour.putalpha(255)
        return colour
    half = level.resize((max(1, level.width // 2), max(1, level.height // 2)), Image.Resampling.BOX)
    coarse = _pulled(half).resize(level.size, Image.Resampling.BILINEAR)
    return Image.alpha_composite(coarse, level.convert("RGBA"))


def _patch(image: Picture, mask: Picture, size: Size, asked: ImageToImage) -> Patch | None:
    """Return the part to be made, where only the masked part shall be; None where that is everything or nothing."""
    mask = mask.resize(image.size, LANCZOS)
    found = mask.getbbox()
    if not asked.inpaint_full_res or found is None:
        return None
    padding = asked.inpaint_full_res_padding or 0
    left, right = _span(found[0] - padding, found[2] + padding, image.width)
    top, bottom = _span(found[1] - padding, found[3] + padding, image.height)
    wide, high = right - left, bottom - top
    left, right = _span(*_about(left, right, max(wide, round(high * size[0] / size[1]))), image.width)
    top, bottom = _span(*_about(top, bottom, max(high, round(wide * size[1] / size[0]))), image.height)
    return Patch(image, mask, (left, top, right, bottom))


def _about(low: int, high: int, length: int) -> tuple[int, int]:
    """Return a span of `length` with the same middle."""
    low = (low + high - length) // 2
    return low, low + length


def _span(low: int, high: int, limit: int) -> tuple[int, int]:
    """Return a span moved, and only then cut, to lie from 0 to `limit`."""
    shift = max(0, -low) - max(0, high - limit) if high - low < limit else 0
    return max(0, low + shift), min(limit, high + shift)


def _mask(mask: Decoded, asked: ImageToImage) -> Picture:
    """Return what is repainted, in 8 bits of grey: 255 is all of it."""
    grey = mask.image.convert("L") if mask.alpha is None or mask.alpha.getextrema() == OPAQUE else mask.alpha
    if asked.inpainting_mask_invert:
        grey = ImageOps.invert(grey)
    each = BLUR if asked.mask_blur is None else asked.mask_blur
    blur = [each if one is None else one for one in (asked.mask_blur_x, asked.mask_blur_y)]
    return grey.filter(ImageFilter.GaussianBlur((blur[0], blur[1]))) if any(blur) else grey


def opened(file: bytes, param: str) -> Decoded:
    """Return the upright image in a file.

    It is in sRGB unless `param` is `mask`. Raises BadPicture.
    """
    try:
        return image_file.decode(file, mask=param == "mask")
    except BadImage as error:
        raise BadPicture(param, str(error)) from error


def _widened(image: Picture, width: int) -> Picture:
    """Return a picture in the middle of a wider one, whose columns at both sides are continued."""
    left = (width - image.width) // 2
    wide = Image.new(image.mode, (width, image.height))
    for at, column in ((0, 0), (left, image.width - 1)):
        edge = image.crop((column, 0, column + 1, image.height))
        wide.paste(edge.resize((width - at, image.height)), (at, 0))
    wide.paste(image, (left, 0))
    return wide


def _turned(image: Picture) -> Picture:
    return image.transpose(Image.Transpose.TRANSPOSE)


def _size(box: tuple[int, int, int, int]) -> Size:
    return box[2] - box[0], box[3] - box[1]


def encoded(image: Picture, kind: str = "PNG", exif: bytes | None = None) -> bytes:
    """Return a picture as a file of Pillow's format `kind`."""
    file = BytesIO()
    image.save(file, kind, **OPTIONS[kind], **({"exif": exif} if exif else {}))
    return file.getvalue()
