"""Which stored tensors fill each parameter of a component, checked by name and shape before any number is read."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from ..files import ModelFileError
from ..safetensors import printable
from .aliases import aliases, with_aliases
from .number_formats import FLOATS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .pieces import ComponentWeights, Piece
    from .tensor_files import StoredTensor, TensorFiles

    Shape = tuple[int, ...]

SHOWN = 4  # names of one fault in a message
UNUSED = re.compile(r"(^|\.)(position_ids|logit_scale|num_batches_tracked|time_conv\.(weight|bias))$")
"""Buffers of text encoders and batch normalisations, and layers between the frames of a video: no graph reads them."""


class Link(NamedTuple):
    """A parameter, its shape, and the stored pieces that follow each other along its axis 0."""

    name: str
    shape: Shape
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def link(
    shapes: Mapping[str, Shape], files: TensorFiles, weights: ComponentWeights, unused: tuple[str, ...] = ()
) -> tuple[Link, ...]:
    """Return the links of all parameters of `shapes`; tensors whose names begin with one of `unused` may be left.

    Raises:
        ModelFileError: a tensor is missing, has another shape or format, or is not one of the component's.
    """
    naming = with_aliases(weights.naming, files.tensors)
    links = tuple(Link(name, shape, naming(name)) for name, shape in shapes.items())
    missing = [printable(piece.name) for each in links for piece in each.pieces if piece.name not in files.tensors]
    present = [each for each in links if not any(piece.name not in files.tensors for piece in each.pieces)]
    others = [fault for each in present if (fault := _fault(each, files))]
    unknown = [printable(name) for name in _unknown(links, files, weights) if not name.startswith(unused)]
    found = {"missing": missing, "unsuitable": others, "unknown": unknown}
    faults = [f"{what}: {_listed(names)}" for what, names in found.items() if names]
    if faults:
        raise ModelFileError("; ".join(faults))
    return links


def _fault(each: Link, files: TensorFiles) -> str:
    """Return what is wrong with the tensors of a link; empty if nothing is."""
    for piece in each.pieces:
        tensor = files.tensors[piece.name]
        if tensor.dtype not in FLOATS:
            return f"{printable(piece.name)} is {tensor.dtype} instead of {', '.join(FLOATS[:-1])} or {FLOATS[-1]}"
        files.scale_of(piece.name)
    shapes = [_shape(piece, files.tensors[piece.name]) for piece in each.pieces]
    if None in shapes or not _fits([shape for shape in shapes if shape is not None], each.shape):
        stored = " + ".join(str(list(files.tensors[piece.name].shape)) for piece in each.pieces)
        names = " + ".join(dict.fromkeys(printable(piece.name) for piece in each.pieces))
        return f"{names} has the shape {stored} instead of {list(each.shape)}"
    return ""


def _shape(piece: Piece, tensor: StoredTensor) -> Shape | None:
    """Return the shape of a piece, without axes of length 1 at its end; None if the tensor lacks its rows."""
    shape = tensor.shape
    if piece.transposed:
        if len(shape) != 2:
            return None
        shape = shape[::-1]
    if piece.first is not None or piece.last is not None:
        first, last = piece.first or 0, piece.last if piece.last is not None else shape[0]
        if not shape or not 0 <= first < last <= shape[0]:
            return None
        shape = (last - first, *shape[1:])
    return _trimmed(shape)


def _fits(shapes: Sequence[Shape], wanted: Shape) -> bool:
    """Return whether pieces joined along axis 0 have the wanted shape, up to axes of length 1 at its end."""
    if len(shapes) == 1:
        return shapes[0] == _trimmed(wanted)
    rows = sum(shape[0] if shape else 1 for shape in shapes)
    return all(shape[1:] == shapes[0][1:] for shape in shapes) and _trimmed((rows, *shapes[0][1:])) == _trimmed(wanted)


def _trimmed(shape: Shape) -> Shape:
    """Return a shape without axes of length 1 at its end: a 1 x 1 convolution is the matrix of a linear layer."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _unknown(links: Sequence[Link], files: TensorFiles, weights: ComponentWeights) -> Iterator[str]:
    """Yield the component's tensors that no parameter uses and that are not known to be unused."""
    used = {piece.name for each in links for piece in each.pieces}
    used |= {alias for name in used for alias in aliases(name)}
    for name in files.tensors:
        known = name in used or UNUSED.search(name) or files.describes(name) or weights.ignored(name)
        if name.startswith(weights.scope) and not known:
            yield name


def _listed(names: Sequence[str]) -> str:
    """Return `a, b and 3 more`."""
    shown = list(dict.fromkeys(names))
    more = len(shown) - SHOWN
    return f"{', '.join(shown[:SHOWN])}{f' and {more} more' if more > 0 else ''}"
