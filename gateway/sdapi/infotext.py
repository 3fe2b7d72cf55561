"""Infotext, the web UI's text about how an image was made: parsing, extending, reading from files and writing to them.

::

    a lighthouse at dusk
    Negative prompt: blurry
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 7, Size: 512x512, Model: "a, b"

PNG has text chunks (PNG, section 11.3.3), and PNG, JPEG and WebP may have EXIF, whose field UserComment is a text (EXIF
2.32, section 4.6.5). Only the structure of a file is read, never its pixels. `image_parts` bounds the number of its
parts, compressed text is expanded up to MAX_TEXT, and damaged text is skipped.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from typing import TYPE_CHECKING

from PIL.PngImagePlugin import PngInfo

from tintype.v1 import image_header
from tintype.v1.image_parts import PNG_SIGNATURE, BadImage, png_chunks

from .response_types import PngInfoResponse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY = "parameters"
MAX_TEXT = 2**20  # bytes of all texts of one file
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
_PROFILE = "Raw profile type exif"  # ImageMagick's EXIF in PNG: three lines, then hexadecimal digits
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ENCODINGS = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii"}
MAX_SETTINGS = 2**16  # characters; a longer line is not a line of settings
_NEGATIVE = "Negative prompt: "
# The parts of one setting. Each is matched once, at the end of the previous one, so a character is read at most twice.
_NAME = re.compile(r"[^:,]*+")
_QUOTED = re.compile(r'\s*+"(?:[^"\\]|\\.)*+"(?=,|$)')
_PLAIN = re.compile(r"[^,]*+")


def read_png_info(file: bytes) -> PngInfoResponse:
    """Return the texts in an image file, and its infotext parsed; an empty infotext if there is none."""
    found = read_texts(file)
    text = found.pop(KEY, "")
    return PngInfoResponse(info=text, items=found, parameters=parse_infotext(text))


def add_settings(text: str, settings: Mapping[str, str]) -> str:
    """Return an infotext with `settings` appended."""
    more = ", ".join(f"{name}: {_quote(value)}" for name, value in settings.items())
    return f"{text}, {more}" if more else text


def parse_infotext(text: str) -> dict[str, str]:
    """Return prompts and settings by the web UI's names; `Size: 8x9` is also `Size-1` and `Size-2`."""
    if not text.strip():
        return {}
    lines = text.strip().split("\n")
    settings = lines.pop() if lines[-1].startswith("Steps: ") and len(lines[-1]) <= MAX_SETTINGS else ""
    at = next((number for number, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    prompts = {"Prompt": "\n".join(lines[:at]), "Negative prompt": "\n".join(lines[at:]).removeprefix(_NEGATIVE)}
    found = dict(_parse_settings(settings))
    return prompts | found | _parse_size(found.get("Size", ""))


def _parse_settings(line: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a line of settings; values without a name are skipped."""
    at = 0
    while at < len(line):
        end = found.end() if (found := _NAME.match(line, at)) else at
        name, at = line[at:end].strip(), end + 1
        if line[end : end + 1] != ":":
            continue
        value = _QUOTED.match(line, at) or _PLAIN.match(line, at)
        if value and name:
            yield name, _unquote(value[0].strip())
        at = value.end() + 1 if value else len(line)


def _parse_size(size: str) -> dict[str, str]:
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    return {"Size-1": match[1], "Size-2": match[2]} if match else {}


def _quote(value: str) -> str:
    """Return a value for a line of settings: as JSON if it contains a separator of settings."""
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value


def _unquote(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value


def read_texts(file: bytes) -> dict[str, str]:
    """Return the texts in an image file by their keys; a UserComment has the key `parameters`."""
    try:
        found = _read_png_texts(file) if file.startswith(PNG_SIGNATURE) else {}
        exif = image_header.exif(file) or _decode_profile(found.get(_PROFILE, ""))
    except (BadImage, struct.error):
        return {}
    comment = _read_user_comment(exif[:MAX_TEXT])
    return {KEY: comment} | found if comment else found


def write_infotext(file: bytes, text: str) -> bytes:
    """Return a PNG file with `text` as its infotext; files of other types are returned unchanged."""
    if not file.startswith(PNG_SIGNATURE):
        return file
    info = PngInfo()
    info.add_text(KEY, text)
    new = [_png_chunk(kind, data) for kind, data, *_ in info.chunks]
    whole = memoryview(file)
    header, *rest = [(kind, whole[start:end]) for kind, start, end in png_chunks(file)]
    kept = [_png_chunk(kind, data) for kind, data in rest if not _is_infotext(kind, data)]
    return b"".join([PNG_SIGNATURE, _png_chunk(*header), *new, *kept])


def _read_png_texts(file: bytes) -> dict[str, str]:
    """Return the texts of a PNG file; of several texts with the same key, the last one."""
    found: dict[str, str] = {}
    limit = MAX_TEXT
    for kind, start, end in png_chunks(file):
        if kind in _TEXT_CHUNKS:
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


def _png_chunk(kind: bytes, data: bytes | memoryview) -> bytes:
    return b"".join([struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))])


def _is_infotext(kind: bytes, data: bytes | memoryview) -> bool:
    return kind in _TEXT_CHUNKS and bytes(data[: len(KEY) + 1]) == KEY.encode() + b"\0"
