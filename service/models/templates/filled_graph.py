"""Filling a template's graph: every weight gets a place in a file.

A weight whose numbers lie in the published file as the graph reads them is pointed at: nothing is copied. Any other one
is written to a file, in another format, transposed, joined or quantized, a few megabytes at a time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..weights.number_formats import itemsize
from ..weights.quantizing import FAST, is_halved, quantized_bytes
from .layout import Layout, WeightUses, external_weights
from .onnx_pb2 import ModelProto, TensorProto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from io import FileIO

    from numpy.typing import NDArray

    from ..weights.linking import Link
    from ..weights.pieces import Piece
    from ..weights.quantizing import Quantizer
    from ..weights.tensor_files import TensorFiles, TensorReader

PAGE = 4096  # bytes; weights begin at a page, so that a mapping of one has no numbers of another
SPLIT = 2**20  # bytes; 227 of the 686 weights of Stable Diffusion 1.5's UNet are larger, and have 0.99 of its bytes
SMALL_ALIGNMENT = 64  # bytes, for weights that are smaller than a page
TYPES: dict[int, type[np.generic]] = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
STORED: dict[int, str] = {TensorProto.FLOAT: "F32", TensorProto.FLOAT16: "F16"}


class Place(NamedTuple):
    """Where the numbers of a weight lie: a file, and the bytes in it."""

    path: Path
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class FillSettings:
    """How to fill a graph.

    `base` is the folder below which all files of weights must lie; None lets nothing be pointed at. With `rounded`
    float32 weights are rounded to float16. `quantizer` chooses the weights that are quantized, whose products have the
    `accuracy` level of MatMulNBits.
    """

    layout: Layout
    base: Path | None = None
    rounded: bool = False
    quantizer: Quantizer | None = None
    accuracy: int = FAST


@dataclass(frozen=True, slots=True)
class Step:
    """One weight: its tensor in the graph, and what becomes of it. `place` is None for a weight that is written.

    `kind` is the type of its numbers, unless they are quantized.
    """

    link: Link
    tensor: TensorProto
    place: Place | None
    fused: bool
    transposed: bool
    quantized: bool
    kind: int

    @property
    def bytes(self) -> int:
        """Bytes of the weight that is not quantized."""
        return self.link.size * np.dtype(TYPES[self.kind]).itemsize


class GraphFilling:
    """The graph of `template`, to be filled with the weights of `links` in `files`."""

    def __init__(self, template: bytes, links: Iterable[Link], files: TensorFiles, settings: FillSettings) -> None:
        self._model = ModelProto.FromString(template)
        self._files, self._settings = files, settings
        tensors = external_weights(self._model.graph)
        self._uses = WeightUses(self._model, tensors)
        self._steps = [self._plan(each, tensors[each.name]) for each in links]

    @property
    def quantization(self) -> dict[str, Any] | None:
        """The card of the quantizer, None without one."""
        return self._settings.quantizer.card().as_json() if self._settings.quantizer else None

    @property
    def bytes_to_write(self) -> int:
        """Bytes of the weights that are written, about."""
        return sum(self._written(step) for step in self._steps)

    def fill(self, writer: WeightWriter, base: Path, check: Callable[[], None] = lambda: None) -> bytes:
        """Write what must be written, and return the graph, whose names of files are relative to `base`.

        `check` is called before each weight; an error that it raises ends the filling.

        Raises:
            ModelFileError: a number does not fit into the format.
            OSError: a file cannot be read, or the disk is full.
        """
        with self._files.reader() as reader:
            ends = _Ends(reader, writer, base)
            for step in self._steps:
                check()
                if not (step.quantized and self._quantize(step, ends)):
                    self._place(step, ends)
        self._uses.finish()
        return self._model.SerializeToString()

    def _plan(self, link: Link, tensor: TensorProto) -> Step:
        settings, name = self._settings, link.name
        transposed = self._uses.is_transposed(name) and settings.layout is not Layout.KEPT
        fused = transposed and settings.layout is Layout.FUSED and self._uses.can_fuse(name)
        quantizer, place = settings.quantizer, None
        halved = bool(quantizer) and tensor.data_type == TensorProto.FLOAT and self._is_halved(link)
        kind = TensorProto.FLOAT16 if halved else tensor.data_type
        if settings.base and (fused or not transposed) and not (settings.rounded and kind == TensorProto.FLOAT):
            place = stored_place(link, self._files, STORED[kind])
        quantized = bool(quantizer and quantizer.wants(name, link.shape, self._uses.operators(name), halved=halved))
        return Step(link, tensor, place, fused, transposed and not fused, quantized, kind)

    def _is_halved(self, link: Link) -> bool:
        return is_halved(link.shape) and self._uses.is_table(link.name)

    def _written(self, step: Step) -> int:
        quantizer = self._settings.quantizer
        if step.quantized and quantizer:
            return quantized_bytes(step.link.shape, quantizer.bits, quantizer.block)
        return 0 if step.place else step.bytes

    def _quantize(self, step: Step, ends: _Ends) -> bool:
        """Write a weight in blocks; return False for one that the quantizer keeps."""
        quantizer, link, kind = self._settings.quantizer, step.link, step.tensor.data_type
        result = quantizer and quantizer.quantize(link.name, ends.reader.matrix(link.pieces))
        if not quantizer or not result:
            return False
        codes, scales = f"{link.name}.codes", f"{link.name}.scales"
        attributes = {"bits": quantizer.bits, "block_size": quantizer.block, "accuracy_level": self._settings.accuracy}
        self._uses.quantize(link.name, link.shape, codes, scales, **attributes)
        ends.store(step.tensor, codes, TensorProto.UINT8, result.packed)
        ends.store(self._model.graph.initializer.add(), scales, kind, result.scales.astype(TYPES[kind]))
        return True

    def _place(self, step: Step, ends: _Ends) -> None:
        """Point at a weight, or write it."""
        link, kind = step.link, step.kind
        if kind != step.tensor.data_type:
            self._uses.widen(link.name)
        elif step.fused:
            self._uses.fuse(link.name)
        elif step.transposed:
            self._uses.turn(link.name)
        rounded = self._settings.rounded
        blocks = ends.reader.blocks(link.pieces, TYPES[kind], transposed=step.transposed, rounded=rounded)
        place = step.place or ends.writer.write(blocks, step.bytes)
        _set(step.tensor, link.name, link.shape[::-1] if step.transposed else link.shape, kind, place, ends.base)


class _Ends(NamedTuple):
    """Where weights are read and written, and the folder that names of files are relative to."""

    reader: TensorReader
    writer: WeightWriter
    base: Path

    def store(self, tensor: TensorProto, name: str, kind: int, array: NDArray[np.generic]) -> None:
        """Write an array, and let a tensor have its numbers."""
        _set(tensor, name, array.shape, kind, self.writer.write([array], array.nbytes), self.base)


class WeightWriter:
    """Writes weights one after the other to the file `path`, which is made for the first one.

    The file will be renamed to `final` if that is given. With `split`, weights of at least SPLIT bytes get a file each:
    a session that has packed a weight unmaps it, and the space of a deleted file is free when nothing maps it any more.
    Small weights stay mapped; in one file they would hold the space of all.
    """

    def __init__(self, path: Path = Path(os.devnull), final: Path | None = None, *, split: bool = False) -> None:
        self._path, self._final, self._split = path, final or path, split
        self._file: FileIO | None = None
        self._end = 0
        self._large = 0  # files of one weight
        self.size = 0  # bytes in all files

    def write(self, blocks: Iterable[NDArray[np.generic]], size: int) -> Place:
        """Write the blocks of one weight of `size` bytes; return its place. Raises OSError."""
        self.size += size
        if self._split and size >= SPLIT:
            self._large += 1
            path = self._path.with_name(f"{self._path.name}-{self._large}")
            with path.open("wb", buffering=0) as file:
                _copy(blocks, file)
            return Place(path, 0, size)
        self._file = self._file or self._path.open("wb", buffering=0)
        start = self._end + -self._end % (PAGE if size >= PAGE else SMALL_ALIGNMENT)
        self._file.seek(start)
        _copy(blocks, self._file)
        self._end = start + size
        return Place(self._final, start, size)

    def sync(self) -> None:
        """Wait until the first file is on the disk. Raises OSError."""
        if self._file:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the first file."""
        if self._file:
            self._file.close()


def _copy(blocks: Iterable[NDArray[np.generic]], file: FileIO) -> None:
    for block in blocks:
        view = block.reshape(-1).view(np.uint8).data
        while view:  # a system writes at most 2 GiB at once
            view = view[file.write(view) :]


def _set(tensor: TensorProto, name: str, shape: Sequence[int], kind: int, place: Place, base: Path) -> None:
    """Let a tensor have the numbers at a place."""
    tensor.name, tensor.data_type, tensor.data_location = name, kind, TensorProto.EXTERNAL
    tensor.dims[:] = shape
    del tensor.external_data[:]
    location = place.path.relative_to(base).as_posix()
    for key, value in (("location", location), ("offset", place.offset), ("length", place.length)):
        tensor.external_data.add(key=key, value=str(value))


def stored_place(link: Link, files: TensorFiles, stored: str) -> Place | None:
    """Return where a parameter lies in one piece, in the format `stored`; None if it does not."""
    places = [_piece_place(piece, files, stored) for piece in link.pieces]
    first, length = places[0], 0
    for place in places:
        if place is None or first is None or (place.path, place.offset) != (first.path, first.offset + length):
            return None
        length += place.length
    return first and first._replace(length=length)


def _piece_place(piece: Piece, files: TensorFiles, stored: str) -> Place | None:
    tensor = files.tensors[piece.name]
    if tensor.dtype != stored or piece.transposed or tensor.offset % itemsize(stored):
        return None
    first = piece.first or 0
    last = piece.last if piece.last is not None else tensor.shape[0] if tensor.shape else 1
    return Place(tensor.path, tensor.offset + first * tensor.row_bytes, (last - first) * tensor.row_bytes)


def common_folder(paths: Iterable[Path]) -> Path | None:
    """Return the folder that has all paths in it or below; None if there is none, as on two drives of Windows."""
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:
        return None
