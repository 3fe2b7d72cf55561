"""The initial image and the mask of `img2img`, prepared for the service as the web UI would.

- Transparent parts of an image are white.
- A mask is brightness, and white is repainted. If it has an alpha channel that is not opaque everywhere, alpha counts
  instead of brightness: opaque is repainted.
- `resize_mode`: 0 stretches, 1 keeps the aspect ratio and crops, 2 keeps the aspect ratio and extends the edges.
- `inpainting_fill` 0 fills the masked part with the colours around it; otherwise it starts from the image as it is.
- `inpaint_full_res` makes only the surroundings of the mask, at full size, and pastes them into the image.

All functions are pure and take tens of milliseconds: call them in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, ImageFilter, ImageOps

from tintype.v1 import image_file
from tintype.v1.image_parts import BadImage
from tintype.v1.image_texts import KEY
from tintype.v1.limits import MAX_FILES

from ..errors import InvalidImage
from .infotext import write_infotext

if TYPE_CHECKING:
    from tintype.v1.image_file import DecodedImage

    from .request_types import ImageToImage

    Pixels = Image.Image
    Size = tuple[int, int]

FORMATS = ("PNG", "JPEG", "WEBP")
LANCZOS = Image.Resampling.LANCZOS
OPAQUE = (255, 255)
BLUR = 4  # pixels, the web UI's default
# Options of Pillow's encoders, as the service uses them.
OPTIONS: dict[str, dict[str, int]] = {
    "PNG": {"compress_level": 1},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
}


@dataclass(frozen=True, slots=True)
class MaskedRegion:
    """The part of the image `whole` that is made: `box` (left, top, right, bottom), in pixels of `whole`."""

    whole: Pixels
    mask: Pixels
    box: tuple[int, int, int, int]

    def paste(self, file: bytes) -> bytes:
        """Return the whole image with `file` pasted into the region, in the file's type and with its infotext."""
        with Image.open(BytesIO(file), formats=FORMATS) as opened:
            kind, text, exif = str(opened.format), opened.info.get(KEY), opened.info.get("exif")
            part = opened.convert("RGB").resize(_box_size(self.box), LANCZOS)
        whole = self.whole.copy()
        whole.paste(part, self.box[:2])
        pasted = encode(Image.composite(whole, self.whole, self.mask), kind, exif)
        return write_infotext(pasted, text) if text else pasted


@dataclass(frozen=True, slots=True)
class InitImage:
    """Image and mask to send, PNG files of `size` (width, height); results are pasted into `region`, if any."""

    image: bytes
    mask: bytes
    size: tuple[int, int]
    region: MaskedRegion | None = None


def prepare(body: ImageToImage, image_bytes: bytes, mask_bytes: bytes) -> InitImage:
    """Return the image and mask to send for a request; `mask_bytes` may be empty. Raises InvalidImage."""
    image = decode(image_bytes, "init_images").on_white()
    size = (body.width or image.width, body.height or image.height)
    mask = _prepare_mask(decode(mask_bytes, "mask"), body) if mask_bytes else None
    region = _find_region(image, mask, size, body) if mask else None
    if region and mask:
        image, mask = (one.crop(region.box).resize(size, LANCZOS) for one in (image, region.mask))
    else:
        image = resize(image, size, body.resize_mode or 0)
        mask = resize(mask, size, body.resize_mode or 0) if mask else None
    if mask and not body.inpainting_fill:
        image = fill(image, mask)
    files = encode(image), encode(mask) if mask else b""
    if sum(map(len, files)) > MAX_FILES:
        raise InvalidImage("init_images", f"must, with the mask, have at most {MAX_FILES} bytes as PNG")
    return InitImage(*files, size, region)


def resize(image: Pixels, size: Size, mode: int) -> Pixels:
    """Return an image in `size`: stretched, cropped, or with extended edges, by `resize_mode`."""
    if mode == 1:
        return ImageOps.fit(image, size, LANCZOS)
    if mode == 2:
        inner = image.resize(_fit_within(image.size, size), LANCZOS)
        return _transpose(_extend_width(_transpose(_extend_width(inner, size[0])), size[1]))
    return image.resize(size, LANCZOS)


def _fit_within(original: Size, size: Size) -> Size:
    """Return the largest sides within `size` that keep the aspect ratio, each at least one pixel."""
    width, height = original
    if width * size[1] > height * size[0]:
        return size[0], max(1, round(height * size[0] / width))
    return max(1, round(width * size[1] / height)), size[1]


def fill(image: Pixels, mask: Pixels) -> Pixels:
    """Return an image whose masked part has the colours around it, coarse far from the edge and fine near it.

    Each level is half as large as the one before, and fills the pixels that are unknown there (Gortler et al., The
    Lumigraph, 1996, section 3.5: pull and push).
    """
    known = image.convert("RGBA")
    known.putalpha(ImageOps.invert(mask))
    return _fill_level(known.convert("RGBa")).convert("RGB")


def _fill_level(level: Pixels) -> Pixels:
    if max(level.size) == 1:
        colour = level.convert("RGBA")
        colour.putalpha(255)
        return colour
    half = level.resize((max(1, level.width // 2), max(1, level.height // 2)), Image.Resampling.BOX)
    coarse = _fill_level(half).resize(level.size, Image.Resampling.BILINEAR)
    return Image.alpha_composite(coarse, level.convert("RGBA"))


def _find_region(image: Pixels, mask: Pixels, size: Size, body: ImageToImage) -> MaskedRegion | None:
    """Return the region to make if only the masked part is made; None to make the whole image."""
    mask = mask.resize(image.size, LANCZOS)
    found = mask.getbbox()
    if not body.inpaint_full_res or found is None:
        return None
    padding = body.inpaint_full_res_padding or 0
    left, right = _clamp_span(found[0] - padding, found[2] + padding, image.width)
    top, bottom = _clamp_span(found[1] - padding, found[3] + padding, image.height)
    wide, high = right - left, bottom - top
    left, right = _clamp_span(*_centred_span(left, right, max(wide, round(high * size[0] / size[1]))), image.width)
    top, bottom = _clamp_span(*_centred_span(top, bottom, max(high, round(wide * size[1] / size[0]))), image.height)
    return MaskedRegion(image, mask, (left, top, right, bottom))


def _centred_span(low: int, high: int, length: int) -> tuple[int, int]:
    """Return a span of `length` with the same centre."""
    low = (low + high - length) // 2
    return low, low + length


def _clamp_span(low: int, high: int, limit: int) -> tuple[int, int]:
    """Return a span moved to lie within 0 to `limit`, and cut if it is longer."""
    shift = max(0, -low) - max(0, high - limit) if high - low < limit else 0
    return max(0, low + shift), min(limit, high + shift)


def _prepare_mask(mask: DecodedImage, body: ImageToImage) -> Pixels:
    """Return the mask as 8-bit greyscale; 255 is repainted entirely."""
    grey = mask.image.convert("L") if mask.alpha is None or mask.alpha.getextrema() == OPAQUE else mask.alpha
    if body.inpainting_mask_invert:
        grey = ImageOps.invert(grey)
    default = BLUR if body.mask_blur is None else body.mask_blur
    blur = [default if one is None else one for one in (body.mask_blur_x, body.mask_blur_y)]
    return grey.filter(ImageFilter.GaussianBlur((blur[0], blur[1]))) if any(blur) else grey


def decode(file: bytes, param: str) -> DecodedImage:
    """Return the image of a file, upright and, unless `param` is `mask`, in sRGB. Raises InvalidImage."""
    try:
        return image_file.decode(file, mask=param == "mask")
    except BadImage as error:
        raise InvalidImage(param, str(error)) from error


def _extend_width(image: Pixels, width: int) -> Pixels:
    """Return an image centred in a wider one, with its outer columns extended to both sides."""
    left = (width - image.width) // 2
    wide = Image.new(image.mode, (width, image.height))
    for at, column in ((0, 0), (left, image.width - 1)):
        edge = image.crop((column, 0, column + 1, image.height))
        wide.paste(edge.resize((width - at, image.height)), (at, 0))
    wide.paste(image, (left, 0))
    return wide


def _transpose(image: Pixels) -> Pixels:
    return image.transpose(Image.Transpose.TRANSPOSE)


def _box_size(box: tuple[int, int, int, int]) -> Size:
    return box[2] - box[0], box[3] - box[1]


def encode(image: Pixels, kind: str = "PNG", exif: bytes | None = None) -> bytes:
    """Return an image as a file of Pillow's format `kind`."""
    file = BytesIO()
    image.save(file, kind, **OPTIONS[kind], **({"exif": exif} if exif else {}))
    return file.getvalue()
