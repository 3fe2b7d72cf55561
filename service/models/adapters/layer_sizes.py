"""The layers of a graph that take adapters, and the matrices that change a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model import Array

PREFIX = "lora."
"""Prefix of the names of a graph's inputs for adapters."""

MatrixPair: TypeAlias = "tuple[Array, Array]"
"""A [in, r], or [in, down, across, r] of a convolution, and B [r, out]."""
LayerSizes: TypeAlias = "Mapping[str, tuple[int, ...]]"
"""The layers of a graph that take adapters: (in, out) of each, or (in, down, across, out) of a convolution."""


class Adapter(dict[str, "dict[str, MatrixPair]"]):
    """The content of one file: pairs of matrices by component and layer."""


def layer_sizes(inputs: Mapping[str, Sequence[object]]) -> dict[str, tuple[int, ...]]:
    """Return the layers that take adapters, from the names and shapes of a graph's optional inputs."""
    shapes = {name: shape for name, shape in inputs.items() if name.startswith(PREFIX)}
    layers = [name.removeprefix(PREFIX).removesuffix(".A") for name in shapes if name.endswith(".A")]
    return {layer: _layer_size(shapes[f"{PREFIX}{layer}.A"], shapes[f"{PREFIX}{layer}.B"]) for layer in layers}


def _layer_size(a: Sequence[object], b: Sequence[object]) -> tuple[int, ...]:
    sides = (a[1], b[2]) if len(a) == 3 else (a[4], a[2], a[3], b[1])
    return tuple(int(str(side)) for side in sides)


def describe_size(size: Sequence[int]) -> str:
    """Return a layer's size in words: "from 3 to 4", or of a convolution "from 3 to 4 by 3 x 3"."""
    wide, *kernel, out = size
    return f"from {wide} to {out}" + (f" by {' x '.join(map(str, kernel))}" if kernel else "")
