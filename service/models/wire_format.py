"""Walking protobuf's wire format in a mapped file, without a schema and without copying the bytes of fields.

See https://protobuf.dev/programming-guides/encoding. Each field is visited once. A walk costs time in proportion to the
number of fields, not to their bytes, so the weights in an ONNX file cost nothing.
"""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING, NamedTuple

from .files import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FIELDS = 20_000_000  # of one file; the largest published graphs have under a million
VARINT, BYTES = 0, 2
SIZES = {1: 8, 5: 4}  # bytes of a field of fixed size, by its wire type


class Field(NamedTuple):
    """A field of a message: its number, its wire type, and where its bytes begin and end."""

    number: int
    wire_type: int
    start: int
    end: int


class FieldBudget:
    """Counts the fields of one file.

    Raises:
        ModelFileError: there are more than MAX_FIELDS.
    """

    def __init__(self) -> None:
        self._left = MAX_FIELDS

    def spend(self) -> None:
        """Count one field."""
        self._left -= 1
        if self._left < 0:
            raise ModelFileError(f"it has more than {MAX_FIELDS} fields")


def map_file(path: Path) -> mmap | bytes:
    """Return the content of a file, mapped; an empty file cannot be mapped."""
    with path.open("rb") as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ) if path.stat().st_size else b""


def fields(data: mmap | bytes, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message between two places.

    Raises:
        ModelFileError: the message is damaged.
    """
    position = start
    while position < end:
        tag, position = varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        first = position
        if wire_type == BYTES:
            size, first = varint(data, position)
            position = first + size
        elif wire_type == VARINT:
            _, position = varint(data, position)
        elif wire_type in SIZES:
            position += SIZES[wire_type]
        else:
            break
        yield Field(number, wire_type, first, min(position, end))
    if position != end:
        raise ModelFileError("it is not an ONNX graph, or was cut off")


def varint(data: mmap | bytes, start: int) -> tuple[int, int]:
    """Return the number at `start` and the position after it. Raises ModelFileError."""
    number = 0
    for i in range(10):
        if start + i >= len(data):
            break
        byte = data[start + i]
        number |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return number, start + i + 1
    raise ModelFileError("it is not an ONNX graph, or was cut off")
