"""Chunks of PNG and WebP files and segments of JPEG files, found without reading their contents.

Every walk over a file is linear and takes at most a few thousand steps: a PNG may have MAX_PARTS chunks and one more
for each 4 KiB of file, a JPEG MAX_PARTS segments before its first scan and as many after it, a WebP MAX_PARTS chunks.

Sources: PNG 3rd edition; ITU-T T.81 annex B; RFC 9649 (WebP).
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PARTS = 4096  # chunks or segments
HEAD = 12  # bytes from which the type can be told
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_BYTES_A_PART = 4096  # of a PNG, beyond MAX_PARTS
_SCAN, _END = 0xDA, 0xD9  # JPEG markers
# A marker that has a segment. Within a scan 0xFF is followed by a zero or by a restart marker.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")


class BadImage(ValueError):
    """A file that is not an image that tintype reads.

    The message continues the name of a field: "must be …", "is …".
    """


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the contents of each PNG chunk.

    A last one that is cut short is left out. Raises BadImage if the file has more chunks than its length explains.
    """
    at, left = len(PNG_SIGNATURE), MAX_PARTS + len(data) // _BYTES_A_PART
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        start, at = at + 8, at + 12 + length
        if not left:
            raise BadImage("is damaged: it has more chunks than a PNG of its length needs")
        left -= 1
        yield kind, start, min(start + length, len(data))
        if kind == b"IEND":
            return


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of segments before a JPEG's first scan.

    Bytes between segments are skipped.
    """
    at = 2
    for _ in range(MAX_PARTS):
        at = data.find(b"\xff", at)
        marker = data[at + 1] if at >= 0 else _SCAN
        if marker == _SCAN:
            return
        if marker in (0, 0xFF):
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        yield marker, at + 4, at + 2 + length
        at += 2 + max(length, 2)
    raise BadImage(f"is damaged: it has more than {MAX_PARTS} segments before its pixels")


def first_scan(data: bytes, parts: list[tuple[int, int, int]]) -> int:
    """Return where the first scan begins; the file's end without one."""
    at = data.find(b"\xff\xda", parts[-1][2] if parts else 2)
    return at if at >= 0 else len(data)


def count_scans(data: bytes, at: int) -> int:
    """Count the scans from the first one on, as decoders do.

    The count goes up to the end marker, past the contents of segments. What follows the image, such as the video of a
    motion photo, is not looked at.
    """
    scans = 0
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, at)
        if found is None or found[1][0] == _END or found.end() + 2 > len(data):
            return scans
        scans += found[1][0] == _SCAN
        (length,) = struct.unpack_from(">H", data, found.end())
        at = found.end() + max(length, 2)
    raise BadImage(f"is damaged: it has more than {MAX_PARTS} segments in its pixels")


def webp_chunks(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Return type, start and end of a WebP file's chunks.

    Of each type the first counts.
    """
    found: dict[bytes, tuple[int, int]] = {}
    at = HEAD
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return found
        kind, length = struct.unpack_from("<4sI", data, at)
        found.setdefault(kind, (at + 8, min(at + 8 + length, len(data))))
        at += 8 + length + length % 2
    raise BadImage(f"is damaged: it has more than {MAX_PARTS} chunks")
