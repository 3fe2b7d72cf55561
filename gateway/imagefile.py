"""Pictures that clients send, judged before anything is decoded: by their first bytes, their length and their header.

The service judges them again when it decodes them. Here it is about saying no early, and about what is fetched.
"""

from __future__ import annotations

from io import BytesIO

from PIL import ExifTags, Image

from .errors import BadPicture

MAX_BYTES = 50_000_000  # as OpenAI has it
MAX_TOGETHER = 64_000_000  # bytes of picture and mask, which go in one message of at most 64 MiB
MAX_SIDE = 8192  # pixels
MAX_PIXELS = 4096 * 4096
HEAD = 12  # bytes from which the type can be told

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# What Pillow raises on headers that are damaged or hostile.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, ZeroDivisionError)
_ON_ITS_SIDE = range(5, 9)  # EXIF orientations that turn a picture by a quarter


def is_picture(head: bytes) -> bool:
    """Tell whether a file that begins like this is a PNG, a JPEG or a WebP file."""
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def check(data: bytes, param: str) -> None:
    """Raise BadPicture for `param` where a file is no picture that the service reads."""
    if not is_picture(data[:HEAD]):
        raise BadPicture(param, "must be a PNG, JPEG or WebP file")
    if len(data) > MAX_BYTES:
        raise BadPicture(param, f"must have at most {MAX_BYTES} bytes, not {len(data)}")
    try:
        width, height = size(data)
    except _BOMB:
        raise BadPicture(param, f"must have at most {MAX_PIXELS} pixels") from None
    except _UNREADABLE as error:
        raise BadPicture(param, "is damaged: its header can't be read") from error
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise BadPicture(param, f"must have at most {MAX_PIXELS} pixels, not {width}x{height}")


def size(data: bytes) -> tuple[int, int]:
    """Return width and height of a picture that stands upright, from its header."""
    with Image.open(BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as image:
        # PNG's own getexif would decode all of the picture, to look behind it.
        turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation) in _ON_ITS_SIDE
        return (image.height, image.width) if turned else image.size
