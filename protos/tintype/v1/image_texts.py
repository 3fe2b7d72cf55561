"""Texts in image files: those by which programs record how an image was made.

PNG has text chunks (PNG, section 11.3.3), and PNG, JPEG and WebP may have EXIF, whose field UserComment is a text (EXIF
2.32, section 4.6.5). Only the structure of a file is read, never its pixels. `image_parts` bounds the number of its
parts, compressed text is expanded up to MAX_TEXT, and damaged text is skipped.
"""

from __future__ import annotations

import struct
import zlib

from . import image_header
from .image_parts import PNG_SIGNATURE, BadImage, png_chunks

KEY = "parameters"
MAX_TEXT = 2**20  # bytes of all texts of one file
TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_PROFILE = "Raw profile type exif"  # ImageMagick's EXIF in PNG: three lines, then hexadecimal digits
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ENCODINGS = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii"}


def read_texts(file: bytes) -> dict[str, str]:
    """Return the texts in an image file by their keys; a UserComment has the key `parameters`."""
    try:
        found = _read_png_texts(file) if file.startswith(PNG_SIGNATURE) else {}
        exif = image_header.exif(file) or _decode_profile(found.get(_PROFILE, ""))
    except (BadImage, struct.error):
        return {}
    comment = _read_user_comment(exif[:MAX_TEXT])
    return {KEY: comment} | found if comment else found


def _read_png_texts(file: bytes) -> dict[str, str]:
    """Return the texts of a PNG file; of several texts with the same key, the last one."""
    found: dict[str, str] = {}
    limit = MAX_TEXT
    for kind, start, end in png_chunks(file):
        if kind in TEXT_CHUNKS:
            key, text, size = _read_text_chunk(kind, file[start:end], limit)
            limit -= size
            if key:
                found[key] = text
    return found


def _read_text_chunk(kind: bytes, data: bytes, limit: int) -> tuple[str, str, int]:
    """Return key, text and text length of a text chunk; the text is cut off after `limit` bytes."""
    key, _, rest = data.partition(b"\0")
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:]
        rest = rest.partition(b"\0")[2].partition(b"\0")[2]  # after the language and the translated key
    elif packed:
        rest = rest[1:]
    try:
        plain = zlib.decompressobj().decompress(rest, limit) if packed and limit else rest[:limit]
    except zlib.error:
        return "", "", 0
    return key.decode("latin-1"), plain.decode("utf-8" if kind == b"iTXt" else "latin-1", "replace"), len(plain)


def _decode_profile(text: str) -> bytes:
    try:
        return bytes.fromhex("".join(text.split("\n")[3:])).removeprefix(b"Exif\0\0")
    except ValueError:
        return b""


def _read_user_comment(tiff: bytes) -> str:
    """Return the text of EXIF's UserComment, empty if there is none. Its first eight bytes name the encoding."""
    order = _ORDERS.get(tiff[:4])
    if order is None:
        return ""
    (first,) = struct.unpack_from(f"{order}I", tiff.ljust(8, b"\0"), 4)
    _, directory = _find_entry(tiff, order, first, _EXIF_IFD)
    size, offset = _find_entry(tiff, order, directory, _USER_COMMENT)
    comment = tiff[offset : offset + size]
    encoding = _ENCODINGS.get(comment[:8])
    return comment[8:].decode(encoding, "replace") if encoding else comment.decode("utf-8", "replace").strip("\0")


def _find_entry(tiff: bytes, order: str, at: int, tag: int) -> tuple[int, int]:
    """Return count and value of a tag in the directory at offset `at`; zeros if it is missing (TIFF 6.0, section 2)."""
    if not 8 <= at <= len(tiff) - 2:
        return 0, 0
    (entries,) = struct.unpack_from(f"{order}H", tiff, at)
    whole = tiff[at + 2 : at + 2 + 12 * entries]
    rows = struct.iter_unpack(f"{order}HHII", whole[: len(whole) // 12 * 12])
    return next(((count, value) for name, _, count, value in rows if name == tag), (0, 0))
