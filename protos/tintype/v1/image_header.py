"""Type, size, orientation and colour profile of uploaded PNG, JPEG and WebP files, without decoding.

Gateway and service check every upload with this module before they decode it.
Rules:

- The type is read from the first bytes, the size from the header. Nothing is inflated except an embedded colour
  profile, up to MAX_PROFILE bytes.
- MAX_SCANNED limits the number of scans of a JPEG by its size; `image_parts` limits the number of chunks and segments.
- Parts that do not change pixels are ignored, such as text, unknown chunks and their checksums; the orientation is the
  only EXIF field that is read. `strip_metadata` returns the parts that the decoder needs.

Sources: PNG 3rd edition; ITU-T T.81 annex B; RFC 9649 (WebP); EXIF 2.32 section 4.6.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from .image_parts import (
    HEAD,
    MAX_PARTS,
    PNG_SIGNATURE,
    BadImage,
    count_scans,
    first_scan,
    jpeg_segments,
    png_chunks,
    webp_chunks,
)
from .limits import MAX_UPLOAD_BYTES, MAX_UPLOAD_PIXELS, MAX_UPLOAD_SIDE

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SCANNED = 24 * MAX_UPLOAD_PIXELS  # pixels times scans of a JPEG; progressive encoders write about ten scans
MAX_PROFILE = 4 * 2**20  # bytes of a colour profile after inflating

PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"

_ON_ITS_SIDE = range(5, 9)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112
_FORMATS = {1: "B", 3: "H", 4: "I"}  # EXIF's integer types
_INDEXED = 3  # PNG colour type of pixels that are indices into a palette, the chunk PLTE before the pixels
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
# JPEG markers: starts of frame, and the segments that decoding needs (0xEE is Adobe's colour transform).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF_SEGMENT, _PROFILE_SEGMENT = 0xE1, 0xE2
_PIXEL_SEGMENTS = _FRAMES | {0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE}
_EXIF, _PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"
JPEG_END = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Header:
    """Type and stored size of an image file.

    `orientation` is EXIF's, 1 to 8; `alpha` says whether pixels may be transparent.
    """

    mime_type: str
    width: int
    height: int
    orientation: int = 1
    alpha: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright image, in pixels."""
        sides = self.width, self.height
        return sides[::-1] if self.orientation in _ON_ITS_SIDE else sides


def mime_type(head: bytes) -> str | None:
    """Return the MIME type of a file that begins with `head`, or None if tintype does not read the type."""
    if head.startswith(PNG_SIGNATURE):
        return PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    return WEBP if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def check(data: bytes) -> Header:
    """Check an upload and return its header.

    Raises:
        BadImage: the type, length, size or structure is not accepted.
    """
    kind = mime_type(data[:HEAD])
    if kind is None:
        raise BadImage("must be a PNG, JPEG or WebP file")
    if len(data) > MAX_UPLOAD_BYTES:
        raise BadImage(f"must have at most {MAX_UPLOAD_BYTES} bytes, not {len(data)}")
    header = _read(kind, data)
    if not (header.width and header.height):
        raise BadImage(f"is damaged: its header says {header.width}x{header.height} pixels")
    if max(header.width, header.height) > MAX_UPLOAD_SIDE or header.width * header.height > MAX_UPLOAD_PIXELS:
        most = f"{MAX_UPLOAD_PIXELS} pixels and {MAX_UPLOAD_SIDE} a side"
        raise BadImage(f"must have at most {most}, not {header.width}x{header.height}")
    if kind == JPEG:
        _check_scans(data, header)
    return header


def _read(kind: str, data: bytes) -> Header:
    try:
        return _READERS[kind](data)
    except (struct.error, IndexError) as error:
        raise BadImage("is damaged: its header can't be read") from error


def strip_metadata(data: bytes) -> bytes:
    """Return a file without the chunks or segments that do not change its pixels.

    Takes a file that `check` accepted. A truncated last part is kept, so that the decoder can report it.
    """
    view, kind = memoryview(data), mime_type(data[:HEAD])
    if kind == PNG:
        kept = [view[start - 8 : end + 4] for name, start, end in png_chunks(data) if name in _PIXEL_CHUNKS]
        return b"".join([PNG_SIGNATURE, *kept, struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))])
    if kind == JPEG:
        parts = list(jpeg_segments(data))
        kept = [view[start - 4 : end] for marker, start, end in parts if marker in _PIXEL_SEGMENTS]
        return b"".join([data[:2], *kept, view[first_scan(data, parts) :]])
    return data


def icc_profile(data: bytes) -> bytes:
    """Return a file's ICC profile; empty if it is missing, damaged, or longer than MAX_PROFILE bytes."""
    return _PROFILES[mime_type(data[:HEAD]) or WEBP](data)


def exif(data: bytes) -> bytes:
    """Return a file's EXIF block, beginning with its byte order; empty if the file has none."""
    block = _EXIFS[mime_type(data[:HEAD]) or WEBP](data)
    return block.removeprefix(_EXIF)


def _png_exif(data: bytes) -> bytes:
    return next((data[start:end] for kind, start, end in png_chunks(data) if kind == b"eXIf"), b"")


def _jpeg_exif(data: bytes) -> bytes:
    parts = ((start, end) for marker, start, end in jpeg_segments(data) if marker == _EXIF_SEGMENT)
    return next((data[start:end] for start, end in parts if data.startswith(_EXIF, start)), b"")


def _webp_exif(data: bytes) -> bytes:
    start, end = webp_chunks(data).get(b"EXIF", (0, 0))
    return data[start:end]


def _png_profile(data: bytes) -> bytes:
    for kind, start, end in png_chunks(data):
        if kind == b"iCCP":
            name = data.find(b"\0", start, min(start + 80, end))
            return _inflate(data[name + 2 : end]) if name >= 0 else b""
    return b""


def _inflate(packed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(packed, MAX_PROFILE)
    except zlib.error:
        return b""
    return inflated if inflater.eof else b""


def _jpeg_profile(data: bytes) -> bytes:
    """Join the numbered parts of an ICC profile.

    The part number, from 1, follows the segment's name (ICC.1:2022, annex B.4).
    """
    parts = [
        data[start + len(_PROFILE) : end]
        for marker, start, end in jpeg_segments(data)
        if marker == _PROFILE_SEGMENT and data.startswith(_PROFILE, start)
    ]
    joined = b"".join(part[2:] for part in sorted(parts, key=lambda part: part[:1]))
    return joined if len(joined) <= MAX_PROFILE else b""


def _webp_profile(data: bytes) -> bytes:
    start, end = webp_chunks(data).get(b"ICCP", (0, 0))
    return data[start:end] if end - start <= MAX_PROFILE else b""


def _png(data: bytes) -> Header:
    width, height, _, colour = struct.unpack_from(">IIBB", data, 16)
    before = {kind for kind, _, _ in takewhile(lambda chunk: chunk[0] != b"IDAT", png_chunks(data))}
    if colour == _INDEXED and b"PLTE" not in before:
        raise BadImage("is damaged: it has no palette")
    alpha = colour in (4, 6) or any(kind == b"tRNS" for kind, _, _ in png_chunks(data))
    return Header(PNG, width, height, _orientation(exif(data)), alpha)


def _jpeg(data: bytes) -> Header:
    parts = list(jpeg_segments(data))
    frame = next((start for marker, start, _ in parts if marker in _FRAMES), len(data))
    height, width = struct.unpack_from(">HH", data, frame + 1)
    return Header(JPEG, width, height, _orientation(exif(data)))


def _check_scans(data: bytes, header: Header) -> None:
    """Raise BadImage if a JPEG of this size has more scans than MAX_SCANNED allows."""
    most = MAX_SCANNED // (header.width * header.height)
    scans = count_scans(data, first_scan(data, list(jpeg_segments(data))))
    if scans > most:
        raise BadImage(f"must have at most {most} scans at its size, not {scans}")


def _webp(data: bytes) -> Header:
    chunks, orientation = webp_chunks(data), _orientation(exif(data))
    if b"VP8X" in chunks:
        start, _ = chunks[b"VP8X"]
        width, height = (int.from_bytes(data[start + at : start + at + 3], "little") + 1 for at in (4, 7))
        return Header(WEBP, width, height, orientation, alpha=bool(data[start] & 0x10))
    if b"VP8L" in chunks:
        (bits,) = struct.unpack_from("<I", data, chunks[b"VP8L"][0] + 1)
        return Header(WEBP, (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, orientation, alpha=bool(bits >> 28 & 1))
    if b"VP8 " in chunks:
        width, height = struct.unpack_from("<HH", data, chunks[b"VP8 "][0] + 6)
        return Header(WEBP, width & 0x3FFF, height & 0x3FFF, orientation)
    raise BadImage("is damaged: its header can't be read")


def _orientation(block: bytes) -> int:
    """Return the orientation in an EXIF block's first directory, 1 to 8; 1 if none can be read."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    try:
        (first,) = struct.unpack_from(f"{order}I", block, 4) if order else (len(block),)
        (count,) = struct.unpack_from(f"{order}H", block, first) if order else (0,)
        for place in range(first + 2, first + 2 + 12 * min(count, MAX_PARTS), 12):
            tag, kind = struct.unpack_from(f"{order}HH", block, place)
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(f"{order}{_FORMATS[kind]}", block, place + 8)
                return int(value) if 1 <= value <= 8 else 1
    except (struct.error, KeyError):
        pass
    return 1


_READERS: dict[str, Callable[[bytes], Header]] = {PNG: _png, JPEG: _jpeg, WEBP: _webp}
_EXIFS: dict[str, Callable[[bytes], bytes]] = {PNG: _png_exif, JPEG: _jpeg_exif, WEBP: _webp_exif}
_PROFILES: dict[str, Callable[[bytes], bytes]] = {PNG: _png_profile, JPEG: _jpeg_profile, WEBP: _webp_profile}
