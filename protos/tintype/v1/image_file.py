"""Decoding of uploaded PNG, JPEG and WebP files to upright sRGB.

Gateway and service decode every upload with this module, so that both get the same image.
Rules:

- `image_header` checks the file first, and the decoder gets only the parts that define pixels.
- The result is upright (EXIF orientation) and in sRGB: an embedded ICC profile is applied and dropped. The levels of a
  mask are not colours, so they are not converted.
- The result has none of the file's metadata.
- The colours of fully transparent pixels are undefined. `DecodedImage.on_white` replaces them.
- A JPEG without an end marker is accepted if all its pixels are present.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from itertools import product

from PIL import Image, ImageChops, ImageCms, UnidentifiedImageError

from . import image_header
from .image_header import JPEG, JPEG_END, Header
from .image_parts import BadImage
from .limits import MAX_UPLOAD_PIXELS

# Pillow's exceptions for truncated, damaged or malicious files.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, ZeroDivisionError, MemoryError)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
# ICC colour spaces: the input mode of the transform, and the image modes that a profile of this space may describe.
_SPACES = {
    "RGB ": ("RGB", ("RGB", "L", "P", "1")),
    "GRAY": ("L", ("L", "1")),
    "CMYK": ("CMYK", ("CMYK",)),
}
_GREY = ("L", "LA")
_LATTICE = bytes(level for point in product((0, 32, 64, 96, 128, 159, 191, 223, 255), repeat=3) for level in point)
_CLOSE = 2  # levels within which a profile counts as sRGB, so that sRGB images keep every level
_FILLER = b"\xa5\x5a" * 256
# EXIF orientations and the transposition that makes the image upright (EXIF 2.32, section 4.6.4).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image in mode RGB, and its alpha channel.

    `alpha` is in mode L, 255 is opaque; None if the file has no transparency.
    """

    image: Image.Image
    alpha: Image.Image | None = None

    def on_white(self) -> Image.Image:
        """Return the image in mode RGB on white."""
        if self.alpha is None:
            return self.image
        return Image.composite(self.image, Image.new("RGB", self.image.size, "white"), self.alpha)


def decode(data: bytes, *, mask: bool = False) -> DecodedImage:
    """Decode a file to an upright image in sRGB; a mask keeps its levels.

    Takes up to two seconds, so call it in a thread.

    Raises:
        BadImage: the file is not PNG, JPEG or WebP, is damaged, or too large.
    """
    header = image_header.check(data)
    try:
        image = _load(image_header.strip_metadata(data), header)
        image.info = {key: value for key, value in image.info.items() if key == "transparency"}
        decoded = _split_alpha(image, b"" if mask else image_header.icc_profile(data))
    except _BOMB:
        raise BadImage(f"must have at most {MAX_UPLOAD_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise BadImage("is damaged: its header can't be read") from None
    except _UNREADABLE as error:
        raise BadImage(f"is damaged: {error}") from error
    turn = _UPRIGHT.get(header.orientation)
    if turn is None:
        return decoded
    return DecodedImage(decoded.image.transpose(turn), decoded.alpha and decoded.alpha.transpose(turn))


def _load(data: bytes, header: Header) -> Image.Image:
    if header.mime_type != JPEG or data.rfind(JPEG_END) >= 0:
        return _open(data)
    # The decoder fills in missing pixels. If appended bytes change the image, pixels were missing.
    data = data.rstrip(b"\xff")
    image, other = (_open(data + more + JPEG_END) for more in (b"", _FILLER))
    if image.tobytes() != other.tobytes():
        raise BadImage("is damaged: its end is missing")
    return image


def _open(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as image:
        image.load()
        return image


def _split_alpha(image: Image.Image, profile: bytes) -> DecodedImage:
    if image.mode.startswith("I"):  # 16 bits per pixel: Pillow's own conversion clips levels instead of scaling them
        image = image.convert("I").convert("F").point(lambda level: level * (1 / 257) + 0.5).convert("L")
    if not image.has_transparency_data:
        return DecodedImage(_to_srgb(image, profile))
    whole = image.convert("RGBA")
    colours = image.convert("L") if image.mode in _GREY else whole.convert("RGB")
    return DecodedImage(_to_srgb(colours, profile), whole.getchannel("A"))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an image to mode RGB, in sRGB.

    A profile that is damaged, or of another colour space, is ignored.
    """
    transform = _transform(image.mode, profile) if profile else None
    if transform is None:
        return image.convert("RGB")
    converted = ImageCms.applyTransform(image.convert(transform.input_mode), transform)
    assert converted is not None  # noqa: S101 - only in-place transforms return None
    converted.info = {}
    return converted


def _transform(mode: str, profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB.

    None if the profile does not fit the mode, or is sRGB itself.
    """
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        taken, modes = _SPACES.get(source.profile.xcolor_space, ("", ()))
        if mode not in modes:
            return None
        # Relative colorimetric with black point compensation, as browsers convert images.
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        transform = ImageCms.buildTransform(source, _SRGB, taken, "RGB", intent, flags)
        return None if taken == "RGB" and _is_identity(transform) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform changes no colour of a 9x9x9 lattice by more than _CLOSE levels."""
    lattice = Image.frombytes("RGB", (27, 27), _LATTICE)
    moved = ImageCms.applyTransform(lattice, transform)
    assert moved is not None  # noqa: S101 - only in-place transforms return None
    return max(ImageChops.difference(lattice, moved).tobytes()) <= _CLOSE
