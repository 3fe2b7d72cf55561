"""Reading files in the safetensors format: a length, a header in JSON, and the numbers.

The format is described at https://huggingface.co/docs/safetensors. The published library is written in Rust; this
module reads what the service needs. The header is checked before any number is read: tensors follow each other without
gaps to the end of the file, each has the bytes of its shape, and no two have the same name. So a file takes no more
memory than its own size as float32.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import ModelFileError, label
from .weights.number_formats import DTYPES, OPAQUE, convert, itemsize

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .model import Array

MAX_HEADER = 2**24  # bytes; those of the largest published files have less than 1 MiB, and parsing takes 25 times it
MAX_BYTES = 2**33  # of one file; the largest published adapters have half of that
MAX_TENSORS = 100_000  # of one file; the largest published models have a few thousand
MAX_AXES = 64  # of one tensor, as in PyTorch; the product of more takes time that grows with their square
MAX_DIGITS = 20  # of a number in a header, as a file's size has
MAX_NAME = 120  # characters of a name in a message
METADATA = "__metadata__"
OFFSETS = "data_offsets"
START = 64  # bytes that tell a format

PICKLE = "a pickle, which can run any code when it is read, so tintype never reads one: use the .safetensors version"
WEB_PAGE = "a web page: the download failed, or needs a login"
# First bytes of files that are published under the same names.
MAGICS = (
    (b"GGUF", "a GGUF file: use the .safetensors version"),
    (b"PK\x03\x04", PICKLE),
    *((bytes((0x80, protocol)), PICKLE) for protocol in range(6)),
    (b"version https://git-lfs", "a pointer of Git LFS to a file that was not downloaded: run `git lfs pull`"),
    *((start, WEB_PAGE) for start in (b"<!DOCTYPE", b"<!doctype", b"<html")),
    (b"\x7fELF", "a program"),
)


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a file: dtype, shape, and where its bytes begin and end."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorFile:
    """A safetensors file: `entries` by name, `metadata`, and `data`, the byte of the file where the numbers begin.

    Raises:
        ModelFileError: the file is damaged, or larger than `most` bytes.
    """

    def __init__(self, path: Path, *, most: int = MAX_BYTES) -> None:
        self.path = path
        try:
            self.data, size, header = _read_header(path, most)
            self.metadata = _metadata(header.pop(METADATA, {}))
            self.entries = {name: self._entry(name, fields) for name, fields in header.items()}
        except ModelFileError:
            raise
        except OSError as error:
            raise ModelFileError(f"{label(path)} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
            raise ModelFileError(f"{label(path)} is not a safetensors file: {printable(str(error))}") from error
        self._check_places(size - self.data)

    def read(self, name: str) -> Array:
        """Return a tensor, float32.

        Raises:
            ModelFileError: the file cannot be read any more, or the tensor has no numbers.
        """
        entry = self.entries[name]
        if entry.dtype not in DTYPES:
            raise ModelFileError(f"{label(self.path)}: {_wrong_dtype(name, entry.dtype)}")
        try:
            with self.path.open("rb") as file:
                file.seek(self.data + entry.begin)
                numbers = np.fromfile(file, DTYPES[entry.dtype], math.prod(entry.shape))
            return convert(numbers, entry.dtype).reshape(entry.shape)
        except (OSError, ValueError, MemoryError) as error:
            raise ModelFileError(f"{label(self.path)}: {printable(name)} cannot be read: {error}") from error

    def _entry(self, name: str, fields: Mapping[str, Any]) -> TensorEntry:
        try:
            return _entry(name, fields)
        except ModelFileError as error:
            raise ModelFileError(f"{label(self.path)}: {error}") from None

    def _check_places(self, size: int) -> None:
        """Check that the tensors fill `size` bytes without gap or overlap."""
        at = 0
        for name, entry in sorted(self.entries.items(), key=lambda item: (item[1].begin, item[1].end)):
            if entry.begin != at:
                raise ModelFileError(
                    f"{label(self.path)}: {printable(name)} must begin at byte {at}, not {entry.begin}"
                )
            at = entry.end
        if at != size:
            raise ModelFileError(
                f"{label(self.path)} is cut off or damaged: its header needs {at} bytes, but it has {size}"
            )


def read_tensors(path: Path) -> dict[str, Array]:
    """Return a file's tensors by name, float32.

    Raises:
        ModelFileError: the file is damaged or too large.
    """
    file = TensorFile(path)
    return {name: file.read(name) for name in file.entries}


def printable(name: str) -> str:
    """Return a name, shortened and escaped for a one-line message."""
    short = name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}..."
    return short if short.isprintable() else ascii(short)[1:-1]


def _read_header(path: Path, most: int) -> tuple[int, int, dict[str, Any]]:
    """Return a file's data offset, data length and header.

    Raises:
        ModelFileError: the file is too large or cut off.
        ValueError: the header is not valid JSON.
    """
    size = path.stat().st_size
    if size > most:
        raise ModelFileError(f"{label(path)} must have at most {most} bytes, not {size}")
    with path.open("rb") as file:
        start = file.read(START)
        if other := other_format(start):
            raise ModelFileError(f"{label(path)} is {other}")
        length = int.from_bytes(start[:8], "little")
        if not 0 < length <= size - 8:
            raise ModelFileError(f"{label(path)} is not a safetensors file, or is cut off")
        if length > MAX_HEADER:
            raise ModelFileError(f"{label(path)} must have a header of at most {MAX_HEADER} bytes, not {length}")
        file.seek(8)
        header = file.read(length)
    if header.count(OFFSETS.encode()) > MAX_TENSORS:  # found before the header's tensors take memory
        raise ModelFileError(f"{label(path)} must have at most {MAX_TENSORS} tensors")
    fields = json.loads(header, object_pairs_hook=_without_duplicates, parse_int=_whole_number)
    return 8 + length, size, _object(fields, "its header")


def other_format(start: bytes) -> str | None:
    """Return what a file with these first bytes is, if it is of another known format."""
    # The header's length comes first, and may begin like any other format; the header itself begins with a brace.
    return None if start[8:9] == b"{" else next((what for magic, what in MAGICS if start.startswith(magic)), None)


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"its header is not valid: a number has {len(digits)} digits")
    return int(digits)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of the header; of two fields of one name JSON's readers would keep the last."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"its header has {twice!r} twice")
    return fields


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object, not {type(value).__name__}")  # noqa: TRY004  # as json's errors
    return value


def _wrong_dtype(name: str, dtype: object) -> str:
    return f"{printable(name)} has the dtype {printable(str(dtype))}; supported are {', '.join(DTYPES)}"


def _metadata(fields: object) -> dict[str, str]:
    return {name: text for name, text in _object(fields, METADATA).items() if isinstance(text, str)}


def _entry(name: str, fields: Mapping[str, Any]) -> TensorEntry:
    """Return the entry of a tensor in the header.

    Raises:
        ModelFileError: a field is missing or of another type, or the shape does not fit the bytes.
    """
    try:
        dtype, shape, (begin, end) = fields["dtype"], tuple(fields["shape"]), fields[OFFSETS]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{printable(name)} must have a dtype, a shape and two {OFFSETS}") from error
    if not isinstance(dtype, str) or (dtype not in DTYPES and dtype not in OPAQUE):
        raise ModelFileError(_wrong_dtype(name, dtype))
    if len(shape) > MAX_AXES:
        raise ModelFileError(f"{printable(name)} must have at most {MAX_AXES} axes, not {len(shape)}")
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ModelFileError(f"{printable(name)} must have a shape and offsets of whole numbers, at least 0")
    if end - begin != math.prod(shape) * itemsize(dtype):
        raise ModelFileError(
            f"{printable(name)} has {end - begin} bytes, which does not fit its shape {list(shape[:8])} in {dtype}"
        )
    return TensorEntry(dtype, shape, begin, end)
