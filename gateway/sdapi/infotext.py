"""Infotext, the web UI's text about how an image was made: parsing, extending, reading from files and writing to them.

::

    a lighthouse at dusk
    Negative prompt: blurry
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 7, Size: 512x512, Model: "a, b"

`image_texts` reads it from files.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from typing import TYPE_CHECKING

from PIL.PngImagePlugin import PngInfo

from tintype.v1.image_parts import PNG_SIGNATURE, png_chunks
from tintype.v1.image_texts import KEY, TEXT_CHUNKS, read_texts

from .response_types import PngInfoResponse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


def _png_chunk(kind: bytes, data: bytes | memoryview) -> bytes:
    return b"".join([struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))])


def _is_infotext(kind: bytes, data: bytes | memoryview) -> bool:
    return kind in TEXT_CHUNKS and bytes(data[: len(KEY) + 1]) == KEY.encode() + b"\0"
