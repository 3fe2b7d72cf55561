"""Find chunks of PNG and WebP files and segments of JPEG files without reading their contents.

Time is linear in the length of the file, and the number of parts is limited: a PNG may have MAX_PARTS chunks and one
more for each 4 KiB of file, a JPEG MAX_PARTS segments before its first scan and MAX_PARTS after it, a WebP MAX_PARTS
chunks.

Sources: PNG 3rd edition; ITU-T T.81 annex B; RFC 9649 (WebP).
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PARTS = 4096  # chunks or segments
HEAD = 12  # bytes that suffice to recognise the type
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_BYTES_PER_PART = 4096  # of a PNG, beyond MAX_PARTS
_SCAN, _END = 0xDA, 0xD9  # JPEG markers
# A marker with a segment. Within a scan, 0xFF is followed by zero or by the code of a restart marker.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")


class BadImage(ValueError):
    """An uploaded file that is not an acceptable image.

    The message continues the name of a field: "must be …", "is …".
    """


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the contents of each PNG chunk.

    A truncated last chunk is left out. Raises BadImage if the file has too many chunks for its length.
    """
    at, left = len(PNG_SIGNATURE), MAX_PARTS + len(data) // _BYTES_PER_PART
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
    """Yield marker, start and end of each segment before a JPEG's first scan.

    Bytes between segments are skipped. Raises BadImage if there are more than MAX_PARTS segments.
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
    """Return the offset of the first scan, or of the file's end if there is none.

    `parts` are the file's `jpeg_segments`.
    """
    at = data.find(b"\xff\xda", parts[-1][2] if parts else 2)
    return at if at >= 0 else len(data)


def count_scans(data: bytes, at: int) -> int:
    """Count a JPEG's scans from offset `at` to the end marker, as decoders do.

    The contents of segments are skipped, and bytes after the end marker, such as the video of a motion photo, are
    ignored. Raises BadImage if there are more than MAX_PARTS segments.
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
    """Return start and end of the contents of a WebP file's chunks by type; of each type the first chunk.

    Raises BadImage if there are more than MAX_PARTS chunks.
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
