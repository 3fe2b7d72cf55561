"""The header of a safetensors file: names, shapes and metadata, without a number being read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from ..files import ModelFileError, label
from ..safetensors import START, TensorFile, other_format, printable
from ..weights.tensor_files import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..model import Array
    from ..safetensors import TensorEntry

SUFFIXES = (".safetensors", ".sft")


@dataclass(frozen=True, slots=True)
class Header:
    """The tensors of a file by name, and its metadata."""

    path: Path
    entries: Mapping[str, TensorEntry]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def dims(self, name: str, axes: int) -> tuple[int, ...]:
        """Return the shape of a tensor of `axes` axes.

        Raises:
            ModelFileError: the tensor is missing, or has another number of axes or an empty one.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise self.fault(f"{printable(name)} is missing")
        if len(entry.shape) != axes or min(entry.shape, default=1) < 1:
            raise self.fault(
                f"{printable(name)} must have {axes} axes, none of them empty; its shape is {list(entry.shape[:8])}"
            )
        return entry.shape

    def blocks(self, name: str) -> int:
        """Return how many tensors exist of `name` with 0, 1, 2, ... in place of `{}`, without a gap."""
        return next(number for number in count() if name.format(number) not in self.entries)

    def read(self, name: str) -> Array:
        """Return the numbers of a tensor, float32.

        Raises:
            ModelFileError: the file cannot be read.
        """
        return TensorFile(self.path, most=MAX_BYTES).read(name)

    def numbers(self, name: str, count: int) -> list[float]:
        """Return the numbers of a tensor that has `count` of them, all finite.

        Raises:
            ModelFileError: the tensor is missing or has other numbers, or the file cannot be read.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise self.fault(f"{printable(name)} is missing")
        if math.prod(entry.shape) != count:
            raise self.fault(f"{printable(name)} must have {count} numbers; its shape is {list(entry.shape[:8])}")
        numbers = [float(number) for number in self.read(name).ravel()]
        if not all(map(math.isfinite, numbers)):
            raise self.fault(f"{printable(name)} must be finite; got {numbers}")
        return numbers

    def fault(self, problem: str) -> ModelFileError:
        """Return an error that names the file."""
        return ModelFileError(f"{label(self.path)}: {problem}")


def read_header(path: Path) -> Header:
    """Read a file's header.

    Raises:
        ModelFileError: it is not a safetensors file, or is damaged; the message says what it is, if that is known.
    """
    _check_format(path)
    file = TensorFile(path, most=MAX_BYTES)
    return Header(path, file.entries, file.metadata)


def _check_format(path: Path) -> None:
    """Raise ModelFileError if a file is of another known format."""
    try:
        with path.open("rb") as file:
            other = other_format(file.read(START))
    except OSError as error:
        raise ModelFileError(f"{label(path)} cannot be read: {error.strerror or error}") from error
    if other:
        raise ModelFileError(f"{label(path)} is {other}")
    if path.suffix.lower() not in SUFFIXES:
        raise ModelFileError(f"{label(path)} must be a {SUFFIXES[0]} file")
