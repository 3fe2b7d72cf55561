"""The text in a picture that tells how it was made, as the web UI writes it: read, taken apart, and written.

::

    a lighthouse at dusk
    Negative prompt: blurry
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 7, Size: 512x512, Model: "a, b"

PNG holds it in the text chunk `parameters`, JPEG and WebP in the EXIF field UserComment (EXIF 2.32, section 4.6.5).
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY = "parameters"
FORMATS = ("PNG", "JPEG", "WEBP")
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_CODES = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii"}
_NEGATIVE = "Negative prompt: "
_SETTING = re.compile(r'\s*([^:,]+):\s*("(?:[^"\\]|\\.)*"|[^,]*)(?:,|$)')


def texts(file: bytes) -> dict[str, str]:
    """Return the texts in a picture by their keys; the one of this module has the key `parameters`.

    Raises what Pillow raises on files that it can't read.
    """
    with Image.open(BytesIO(file), formats=FORMATS) as image:
        if image.format == "PNG" and KEY not in image.info:
            image.load()  # texts may follow the pixels
        found = {str(key): str(value) for key, value in image.info.items() if isinstance(value, str)}
        # PNG's own getexif would decode what was not.
        comment = Image.Image.getexif(image).get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    return {KEY: _decoded(comment)} | found if comment else found


def written(file: bytes, text: str) -> bytes:
    """Return a PNG file with `text` in the place of what it says of itself; other files stay as they are."""
    if not file.startswith(SIGNATURE):
        return file
    info = PngInfo()
    info.add_text(KEY, text)
    new = [_chunk(kind, data) for kind, data, *_ in info.chunks]
    header, *rest = _chunks(file)
    return b"".join([SIGNATURE, header, *new, *(chunk for chunk in rest if not _is_ours(chunk))])


def with_setting(text: str, settings: Mapping[str, str]) -> str:
    """Return the text with more settings at its end."""
    more = ", ".join(f"{name}: {_quoted(value)}" for name, value in settings.items())
    return f"{text}, {more}" if more else text


def taken_apart(text: str) -> dict[str, str]:
    """Return prompts and settings by the web UI's names; `Size: 8x9` is there as `Size-1` and `Size-2` as well."""
    if not text.strip():
        return {}
    lines = text.strip().split("\n")
    settings = lines.pop() if lines[-1].startswith("Steps: ") else ""
    at = next((number for number, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    prompts = {"Prompt": "\n".join(lines[:at]), "Negative prompt": "\n".join(lines[at:]).removeprefix(_NEGATIVE)}
    found = {name.strip(): _unquoted(value.strip()) for name, value in _SETTING.findall(settings)}
    return prompts | found | _sides(found.get("Size", ""))


def _sides(size: str) -> dict[str, str]:
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    return {"Size-1": match[1], "Size-2": match[2]} if match else {}


def _chunks(png: bytes) -> Iterator[bytes]:
    """Yield the chunks of a PNG file, each as it stands: length, type, data, checksum (PNG, section 5.3)."""
    at = len(SIGNATURE)
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4])
        yield png[at:end]
        at = end


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _is_ours(chunk: bytes) -> bool:
    return chunk[4:8] in _TEXTS and chunk[8:].startswith(KEY.encode() + b"\0")


def _decoded(comment: bytes | str) -> str:
    """Return the text of a UserComment; its first eight bytes name the code."""
    if isinstance(comment, str):
        return comment
    code = _CODES.get(comment[:8])
    return comment[8:].decode(code, "replace") if code else comment.decode("utf-8", "replace").strip("\0")


def _quoted(value: str) -> str:
    """Return a value as it may stand between commas: as JSON where it holds what separates settings."""
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value
