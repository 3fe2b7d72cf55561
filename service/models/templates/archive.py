"""Archives of templates: the serialized graphs of one template, compressed together.

An archive is one xz stream. It holds the variants one after the other, each after its length in 8 bytes, little-endian.
The folder's `index.json` gives the length and the SHA-256 of each variant, and both are checked; so a damaged file
cannot take more memory than the index says. The variants hardly differ, and together take little more than one.
"""

from __future__ import annotations

import hashlib
import lzma
from typing import TYPE_CHECKING, Any, NamedTuple

from ..files import ModelFileError, label

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUFFIX = ".xz"
LENGTH = 8  # bytes
# Bytes of one variant; the largest committed one has 7 million.
MAX_BYTES = 2**28
# The decoder of the strongest preset needs 65 MB.
MEMORY = 2**27
CHUNK = 2**16
PRESET = 9 | lzma.PRESET_EXTREME


class Variant(NamedTuple):
    """A version of a graph: computing in float16 or float32, with or without inputs for adapters."""

    half: bool = False
    adapters: bool = False


class StoredVariant(NamedTuple):
    """A variant in an archive, its bytes, and its SHA-256 in hexadecimal."""

    variant: Variant
    size: int
    sha256: str

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the index."""
        return {**self.variant._asdict(), "bytes": self.size, "sha256": self.sha256}


def stored(variant: Variant, content: bytes) -> StoredVariant:
    """Return the index's entry for a serialized graph."""
    return StoredVariant(variant, len(content), hashlib.sha256(content).hexdigest())


def pack(contents: Sequence[bytes]) -> bytes:
    """Return the archive of serialized graphs."""
    joined = b"".join(len(content).to_bytes(LENGTH, "little") + content for content in contents)
    return lzma.compress(joined, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, preset=PRESET)


def unpack(path: Path, variants: Sequence[StoredVariant], position: int) -> bytes:
    """Return the serialized graph at `position` of the archive; what follows it is not read.

    Raises:
        ModelFileError: the archive is missing, damaged, or does not match the index.
    """
    try:
        with path.open("rb") as file:
            stream = _Stream(file)
            for each in variants[:position]:
                stream.skip(_content_size(stream, each, path))
            content = stream.read(_content_size(stream, variants[position], path))
    except OSError as error:
        raise ModelFileError(f"{label(path)} cannot be read: {error.strerror or error}") from error
    except (lzma.LZMAError, EOFError) as error:
        raise ModelFileError(f"{label(path)} is damaged: {error or 'it is cut off'}") from error
    if hashlib.sha256(content).hexdigest() != variants[position].sha256:
        raise ModelFileError(f"{label(path)} is damaged: variant {position} does not have the index's SHA-256")
    return content


def _content_size(stream: _Stream, expected: StoredVariant, path: Path) -> int:
    size = int.from_bytes(stream.read(LENGTH), "little")
    if size != expected.size:
        raise ModelFileError(f"{label(path)} is damaged: a variant has {size} bytes; the index says {expected.size}")
    return size


class _Stream:
    """Decompressed bytes of a file, in order; at most a chunk more than asked for is decompressed."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes. Raises EOFError if there are fewer."""
        parts = [self._rest]
        missing = size - len(self._rest)
        while missing > 0:
            part = self._next()
            parts.append(part)
            missing -= len(part)
        content = b"".join(parts)
        self._rest = content[size:]
        return content[:size]

    def skip(self, size: int) -> None:
        """Pass over the next `size` bytes."""
        while size > 0:
            size -= len(self.read(min(size, CHUNK)))

    def _next(self) -> bytes:
        while not self._decoder.eof:
            data = self._file.read(CHUNK) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not data:
                break
            if part := self._decoder.decompress(data, CHUNK):
                return part
        raise EOFError
