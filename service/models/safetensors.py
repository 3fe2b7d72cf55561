"""Reading files in the safetensors format: a length, a header in JSON, and the numbers.

https://huggingface.co/docs/safetensors says what is in them; the published library is written in Rust, and this is all
that is needed of it. The header is checked before any number is read: tensors lie one after the other and fill the
file, and each takes the bytes of its shape. So no file takes more memory than its own size as float32.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import ModelFileError, label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .model import Array

MOST_HEADER = 2**26  # bytes; a file that claims more is damaged
MOST_BYTES = 2**33  # of one file; the largest published adapters take half of that
LONGEST_NAME = 120  # characters of a name that stand in a message
METADATA = "__metadata__"
KINDS: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F8_E4M3": np.dtype("u1"),
    "F8_E5M2": np.dtype("u1"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file, and where its bytes begin and end."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorFile:
    """A safetensors file: `entries` by name, and `metadata`.

    Raises ModelFileError.
    """

    def __init__(self, path: Path, *, most: int = MOST_BYTES) -> None:
        self.path = path
        try:
            self._data, size, header = _opened(path, most)
            self.metadata = _texts(header.pop(METADATA, {}))
            self.entries = {name: _entry(name, said) for name, said in header.items()}
        except ModelFileError:
            raise
        except OSError as error:
            raise ModelFileError(f"{label(path)} can't be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
            raise ModelFileError(f"{label(path)} is not a safetensors file: {shown(str(error))}") from error
        self._check_places(size - self._data)

    def read(self, name: str) -> Array:
        """Return a tensor, float32. Raises ModelFileError."""
        entry = self.entries[name]
        kind = KINDS[entry.dtype]
        try:
            with self.path.open("rb") as file:
                file.seek(self._data + entry.begin)
                numbers = np.fromfile(file, kind, math.prod(entry.shape))
            return _widened(entry.dtype, numbers).reshape(entry.shape)
        except (OSError, ValueError, MemoryError) as error:
            raise ModelFileError(f"{label(self.path)}: {shown(name)} can't be read: {error}") from error

    def _check_places(self, size: int) -> None:
        """Check that the tensors fill `size` bytes without gap or overlap."""
        at = 0
        for name, entry in sorted(self.entries.items(), key=lambda item: (item[1].begin, item[1].end)):
            if entry.begin != at:
                raise ModelFileError(f"{label(self.path)}: {shown(name)} must begin at byte {at}, not {entry.begin}")
            at = entry.end
        if at != size:
            raise ModelFileError(
                f"{label(self.path)} is cut off or damaged: its header needs {at} bytes, and {size} are there"
            )


def read_tensors(path: Path) -> dict[str, Array]:
    """Return a file's tensors by name, float32. Raises ModelFileError."""
    file = TensorFile(path)
    return {name: file.read(name) for name in file.entries}


def shown(name: str) -> str:
    """Return a name in the form for a one-line message."""
    short = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    return short if short.isprintable() else ascii(short)[1:-1]


def _opened(path: Path, most: int) -> tuple[int, int, dict[str, Any]]:
    """Return a file's data offset, data length and header.

    Raises ModelFileError, or the errors that a malformed header causes.
    """
    size = path.stat().st_size
    if size > most:
        raise ModelFileError(f"{label(path)} takes {size} bytes; an adapter may take {most}")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(size - 8, MOST_HEADER):
            raise ModelFileError(f"{label(path)} is not a safetensors file, or is cut off")
        return 8 + length, size, json.loads(file.read(length))


def _texts(said: Mapping[str, Any]) -> dict[str, str]:
    return {name: text for name, text in said.items() if isinstance(text, str)}


def _entry(name: str, said: Mapping[str, Any]) -> Entry:
    """Return what a header says of a tensor.

    Raises ModelFileError, or the errors that a malformed header causes.
    """
    dtype, shape, (begin, end) = said["dtype"], tuple(said["shape"]), said["data_offsets"]
    if dtype not in KINDS:
        raise ModelFileError(f"{shown(name)} holds {shown(str(dtype))}; known are {', '.join(KINDS)}")
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ModelFileError(f"{shown(name)} has a shape or an offset that is not a whole number from 0 on")
    if end - begin != math.prod(shape) * KINDS[dtype].itemsize:
        raise ModelFileError(
            f"{shown(name)} takes {end - begin} bytes, which is not its shape {list(shape[:8])} in {dtype}"
        )
    return Entry(dtype, shape, begin, end)


def _widened(dtype: str, numbers: np.ndarray[Any, np.dtype[Any]]) -> Array:
    """Return the numbers of a type as float32.

    NumPy knows neither bfloat16 nor types of 8 bits.
    """
    widen = WIDEN.get(dtype)
    return np.asarray(widen(numbers) if widen else numbers, np.float32)


def _e4m3() -> Array:
    """Return the 256 values of float8_e4m3fn.

    There is no infinity, and two patterns are not a number.
    """
    bits = np.arange(256)
    exponent, fraction = (bits >> 3) & 15, (bits & 7) / 8
    values = np.where(exponent, (1 + fraction) * 2.0 ** (exponent - 7), fraction * 2.0**-6)
    return np.where(bits & 127 == 127, np.nan, np.where(bits & 128, -values, values)).astype(np.float32)


WIDEN: dict[str, Callable[[np.ndarray[Any, np.dtype[Any]]], Any]] = {
    "BF16": lambda upper: (upper.astype(np.uint32) << 16).view(np.float32),
    "F8_E5M2": lambda upper: (upper.astype(np.uint16) << 8).view(np.float16),
    "F8_E4M3": lambda bits: _e4m3()[bits],
}
