"""Several safetensors files as one set of tensors, such as the shards of a component.

The headers are checked when the set is made; numbers are read later, from read-only mappings and in blocks, so that
reading a tensor of any size takes a few megabytes.

8-bit floats may have a scale: a tensor `LAYER.weight` next to `LAYER.scale_weight` or `LAYER.weight_scale` stands for
the product of both. The scale has one number, or one for each row. This is how ComfyUI stores scaled float8 models
(https://github.com/comfyanonymous/ComfyUI/blob/master/QUANTIZATION.md); it marks older ones by a tensor `scaled_fp8`.
"""

from __future__ import annotations

import math
import mmap
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..files import ModelFileError, label
from ..safetensors import TensorFile, printable
from .number_formats import FLOAT8, FLOATS, Stored, convert, itemsize, numpy_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .pieces import Piece

MAX_BYTES = 2**40  # of one file: the largest published shards have 50 GB
BLOCK = 2**19  # numbers that are converted at once: with 2**22, memory that is new each time takes half as long again
RELEASE = 2**26  # bytes that are read before their pages are released

SCALES = (".scale_weight", ".weight_scale")
COMPANIONS = (*SCALES, ".scale_input", ".input_scale", ".comfy_quant")
"""Endings of the tensors that describe an 8-bit weight. The scales of inputs are only for products in 8 bits."""
MARKER = "scaled_fp8"


class FileIdentity(NamedTuple):
    """What changes when a file is written: its size, time of modification in nanoseconds, and inode."""

    size: int
    mtime: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileIdentity:
        """Return a file's identity now. Raises OSError."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


def _identity(path: Path) -> FileIdentity | None:
    try:
        return FileIdentity.of(path)
    except OSError:
        return None


class StoredTensor(NamedTuple):
    """A tensor of a file; `path` has no symbolic links, `offset` is the byte of the first number."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one step along axis 0."""
        return math.prod(self.shape[1:]) * itemsize(self.dtype)


class TensorFiles:
    """The tensors of `paths` by name, `tensors`, and each file's identity now, `identities`, by its real path.

    Raises:
        ModelFileError: a file is missing or damaged, or two files have a tensor of one name.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.tensors: dict[str, StoredTensor] = {}
        self.identities: dict[Path, FileIdentity] = {}
        for path in paths:
            self._add(path)

    def check_unchanged(self) -> None:
        """Check that all files are those whose headers were read.

        Raises:
            ModelFileError: a file was changed, replaced or removed.
        """
        if path := self.changed():
            if not path.exists():
                raise ModelFileError(f"{label(path)} is missing")
            raise ModelFileError(f"{label(path)} has changed since the model was read; load the model again")

    def changed(self) -> Path | None:
        """Return the first file that was changed, replaced or removed since its header was read."""
        return next((path for path, now, then in self._compared() if now != then), None)

    def overwritten(self) -> list[Path]:
        """Return the files that were written to where they lie, so that mappings of them have other numbers now.

        A file that was replaced or removed is not among them: mappings keep the old one.
        """
        return [path for path, now, then in self._compared() if now and now != then and now.inode == then.inode]

    def _compared(self) -> Iterator[tuple[Path, FileIdentity | None, FileIdentity]]:
        """Yield each file with its identity now, None if it is missing, and that of the time when it was read."""
        for path, (real, then) in zip(self.paths, self.identities.items(), strict=True):
            yield path, _identity(real), then

    def _add(self, path: Path) -> None:
        try:
            real = path.resolve()
            if real in self.identities:
                raise ModelFileError(f"{label(path)} is listed twice")
            self.identities[real] = FileIdentity.of(real)  # before its header is read: a later change is noticed
        except FileNotFoundError:
            raise ModelFileError(f"{label(path)} is missing") from None
        except OSError as error:
            raise ModelFileError(f"{label(path)} cannot be read: {error.strerror or error}") from error
        file = TensorFile(path, most=MAX_BYTES)
        for name, entry in file.entries.items():
            if name in self.tensors:
                raise ModelFileError(f"{label(path)} has {printable(name)}, which another file of the model has too")
            self.tensors[name] = StoredTensor(real, entry.dtype, entry.shape, file.data + entry.begin)

    def scale_of(self, name: str) -> str | None:
        """Return the name of the scale of an 8-bit tensor, None if it has none.

        Raises:
            ModelFileError: the scale is for blocks, which is not supported.
        """
        tensor = self.tensors[name]
        stem = name.removesuffix(".weight")
        scale = next((stem + ending for ending in SCALES if stem + ending in self.tensors), None)
        if tensor.dtype not in FLOAT8 or scale is None:
            return None
        shape = self.tensors[scale].shape
        if self.tensors[scale].dtype not in FLOATS or (math.prod(shape) != 1 and not _is_per_row(shape, tensor.shape)):
            raise ModelFileError(
                f"{printable(scale)} must have one number, or one for each row of {printable(name)}; "
                f"got {self.tensors[scale].dtype} {list(shape)}"
            )
        return scale

    def describes(self, name: str) -> bool:
        """Return whether a tensor describes an 8-bit weight and is not a weight itself."""
        ending = next((ending for ending in COMPANIONS if name.endswith(ending)), None)
        if ending is None:
            return name.rpartition(".")[2] == MARKER
        return name.removesuffix(ending) + ".weight" in self.tensors

    @contextmanager
    def reader(self) -> Iterator[TensorReader]:
        """Yield a reader of the numbers. Raises OSError for a file that cannot be opened."""
        reader = TensorReader(self)
        try:
            yield reader
        finally:
            reader.close()


class TensorReader:
    """Reads tensors of `files` from mappings, which `close` ends."""

    def __init__(self, files: TensorFiles) -> None:
        self._files = files
        self._mappings: dict[Path, mmap.mmap] = {}
        self._read = 0

    def close(self) -> None:
        """Drop the mappings; arrays that are still in use keep theirs."""
        self._mappings.clear()

    def blocks(
        self, pieces: Sequence[Piece], dtype: type[np.generic], *, transposed: bool = False, rounded: bool = False
    ) -> Iterator[Stored]:
        """Yield the numbers of a parameter in order, as contiguous arrays of `dtype` with about BLOCK numbers each.

        With `transposed` they are those of its transpose; with `rounded` they are rounded to float16 first.

        Raises:
            ModelFileError: a number is beyond the range of float16.
        """
        views = [self._view(piece) for piece in pieces]
        for group, rows, columns in _cuts(views, transposed=transposed):
            parts = [view.read(rows, columns, dtype, rounded=rounded) for view in group]
            block = parts[0] if len(parts) == 1 else np.concatenate(parts)
            yield np.ascontiguousarray(block.T if transposed else block)
            self._release(block.nbytes)

    def matrix(self, pieces: Sequence[Piece], *, rounded: bool = False) -> Stored:
        """Return a parameter [rows, columns] as float32. Raises as `blocks`."""
        views = [self._view(piece) for piece in pieces]
        matrix = np.empty((sum(len(view.numbers) for view in views), views[0].numbers.shape[1]), np.float32)
        at = 0
        for block in self.blocks(pieces, np.float32, rounded=rounded):
            matrix[at : at + len(block)] = block
            at += len(block)
        return matrix

    def _view(self, piece: Piece) -> _View:
        tensor = self._files.tensors[piece.name]
        numbers = self._mapped(tensor)
        numbers = numbers.reshape(numbers.shape[0] if numbers.ndim else 1, -1)
        scale_name = self._files.scale_of(piece.name)
        scale = self._scale(scale_name) if scale_name else None
        if piece.transposed:
            numbers, scale = numbers.T, scale.T if scale is not None else None
        rows = slice(piece.first, piece.last)
        scale = scale if scale is None or len(scale) == 1 else scale[rows]
        return _View(piece.name, tensor.dtype, numbers[rows], scale)

    def _scale(self, name: str) -> Stored:
        tensor = self._files.tensors[name]
        return convert(self._mapped(tensor), tensor.dtype).reshape(-1, 1)

    def _mapped(self, tensor: StoredTensor) -> Stored:
        mapping = self._mappings.get(tensor.path)
        if mapping is None:
            with tensor.path.open("rb") as file:
                mapping = self._mappings[tensor.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        count = math.prod(tensor.shape)
        return np.frombuffer(mapping, numpy_type(tensor.dtype), count, tensor.offset).reshape(tensor.shape)

    def _release(self, count: int) -> None:
        """Release the pages that were read, so that memory does not grow with the file."""
        self._read += count
        if self._read >= RELEASE and hasattr(mmap, "MADV_DONTNEED"):
            self._read = 0
            for mapping in self._mappings.values():
                mapping.madvise(mmap.MADV_DONTNEED)


class _View(NamedTuple):
    """The stored numbers [rows, columns] of a piece, with a scale [1 or rows, 1 or columns]."""

    name: str
    dtype: str
    numbers: Stored
    scale: Stored | None

    def read(self, rows: slice, columns: slice, dtype: type[np.generic], *, rounded: bool) -> Stored:
        numbers = self.numbers[rows, columns]
        if self.scale is not None:
            by_row = self.scale if len(self.scale) == 1 else self.scale[rows]
            numbers = convert(numbers, self.dtype) * (by_row if by_row.shape[1] == 1 else by_row[:, columns])
        stored = self.dtype if self.scale is None else "F32"
        if not rounded and (dtype != np.float16 or stored == "F16"):
            return convert(numbers, stored, dtype)
        half = convert(numbers, stored, np.float16)
        if stored != "F16" and np.isinf(half).any():
            raise ModelFileError(f"{printable(self.name)} has numbers that float16 cannot hold; set precision to fp32")
        return half.astype(dtype, copy=False)


def _cuts(views: list[_View], *, transposed: bool) -> Iterator[tuple[list[_View], slice, slice]]:
    """Yield views with the rows and columns to read next.

    Blocks of the transpose need some columns of all views; otherwise the rows of one view follow those of the last.
    """
    if transposed:
        count = sum(len(view.numbers) for view in views)
        for columns in _slices(views[0].numbers.shape[1], count):
            yield views, slice(None), columns
        return
    for view in views:
        for rows in _slices(*view.numbers.shape):
            yield [view], rows, slice(None)


def _slices(length: int, width: int) -> Iterator[slice]:
    step = max(1, BLOCK // max(width, 1))
    return (slice(first, first + step) for first in range(0, length, step))


def _is_per_row(scale: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    return len(weight) > 1 and scale[:1] == weight[:1] and math.prod(scale[1:]) == 1
