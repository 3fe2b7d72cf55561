"""Texts inside PNG, JPEG and WebP files; writing one to PNG.

PNG has text chunks (PNG, section 11.3.3), and all three types may have EXIF, whose field UserComment is a text (EXIF
2.32, section 4.6.5). Only the structure of a file is read here, never its pixels. `image_header` bounds its parts,
compressed text is expanded up to MAX_TEXT only, and damaged text is skipped.
"""

from __future__ import annotations

import struct
import zlib

from PIL.PngImagePlugin import PngInfo

from tintype.v1 import image_header
from tintype.v1.image_header import PNG_SIGNATURE, BadImage, png_chunks

KEY = "parameters"
MAX_TEXT = 2**20  # bytes of all texts of one file
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_PROFILE = "Raw profile type exif"  # ImageMagick's place for EXIF in PNG: three lines, then hexadecimal digits
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_CODES = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii"}


def texts(file: bytes) -> dict[str, str]:
    """Return the texts in an image file by their keys.

    A UserComment has the key `parameters`.
    """
    try:
        found = _of_png(file) if file.startswith(PNG_SIGNATURE) else {}
        exif = image_header.exif(file) or _from_profile(found.get(_PROFILE, ""))
    except (BadImage, struct.error):
        return {}
    comment = _user_comment(exif[:MAX_TEXT])
    return {KEY: comment} | found if comment else found


def written(file: bytes, text: str) -> bytes:
    """Return a PNG file whose parameters are `text`.

    Other files stay as they are.
    """
    if not file.startswith(PNG_SIGNATURE):
        return file
    info = PngInfo()
    info.add_text(KEY, text)
    new = [_chunk(kind, data) for kind, data, *_ in info.chunks]
    whole = memoryview(file)
    header, *rest = [(kind, whole[start:end]) for kind, start, end in png_chunks(file)]
    kept = [_chunk(kind, data) for kind, data in rest if not _is_ours(kind, data)]
    return b"".join([PNG_SIGNATURE, _chunk(*header), *new, *kept])


def _of_png(file: bytes) -> dict[str, str]:
    """Return the texts of a PNG file.

    Of two texts with one key the last counts.
    """
    found: dict[str, str] = {}
    room = MAX_TEXT
    for kind, start, end in png_chunks(file):
        if kind in _TEXTS:
            key, text, size = _text(kind, file[start:end], room)
            room -= size
            if key:
                found[key] = text
    return found


def _text(kind: bytes, data: bytes, room: int) -> tuple[str, str, int]:
    """Return key, text and text length of a text chunk.

    The text is limited to `room` bytes.
    """
    key, _, rest = data.partition(b"\0")
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:]
        rest = rest.partition(b"\0")[2].partition(b"\0")[2]  # after the language and the translated key
    elif packed:
        rest = rest[1:]
    try:
        plain = zlib.decompressobj().decompress(rest, room) if packed and room else rest[:room]
    except zlib.error:
        return "", "", 0
    return key.decode("latin-1"), plain.decode("utf-8" if kind == b"iTXt" else "latin-1", "replace"), len(plain)


def _from_profile(text: str) -> bytes:
    try:
        return bytes.fromhex("".join(text.split("\n")[3:])).removeprefix(b"Exif\0\0")
    except ValueError:
        return b""


def _user_comment(tiff: bytes) -> str:
    """Return the text of EXIF's UserComment; empty if there is none.

    Its first eight bytes name the code.
    """
    order = _ORDERS.get(tiff[:4])
    if order is None:
        return ""
    (first,) = struct.unpack_from(f"{order}I", tiff.ljust(8, b"\0"), 4)
    _, within = _entry(tiff, order, first, _EXIF_IFD)
    size, place = _entry(tiff, order, within, _USER_COMMENT)
    comment = tiff[place : place + size]
    code = _CODES.get(comment[:8])
    return comment[8:].decode(code, "replace") if code else comment.decode("utf-8", "replace").strip("\0")


def _entry(tiff: bytes, order: str, at: int, tag: int) -> tuple[int, int]:
    """Return count and value of a tag in the directory at `at`.

    They are zeros if there is none (TIFF 6.0, section 2).
    """
    if not 8 <= at <= len(tiff) - 2:
        return 0, 0
    (entries,) = struct.unpack_from(f"{order}H", tiff, at)
    whole = tiff[at + 2 : at + 2 + 12 * entries]
    rows = struct.iter_unpack(f"{order}HHII", whole[: len(whole) // 12 * 12])
    return next(((count, value) for name, _, count, value in rows if name == tag), (0, 0))


def _chunk(kind: bytes, data: bytes | memoryview) -> bytes:
    return b"".join([struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))])


def _is_ours(kind: bytes, data: bytes | memoryview) -> bool:
    return kind in _TEXTS and bytes(data[: len(KEY) + 1]) == KEY.encode() + b"\0"
