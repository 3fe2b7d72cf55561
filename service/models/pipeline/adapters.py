"""Adapters (LoRA, Hu et al. 2106.09685): small changes to a model's layers, chosen by each request.

A linear layer x W of a graph that was exported for adapters computes x W + (x A) B. A [n, in, r] and B [n, r, out] are
inputs whose default has rank 0; n is 1, or the number of rows of a call. Several adapters with weights are fed as one
of their summed rank: all A side by side, all B below each other, each B times its weight.
A convolution computes conv(x, W) + B conv(x, A), with A [n, r, down, across, in] and B [n, out, r]
(`export.graph.adapter_inputs`).

An adapter is a file `loras/NAME.safetensors` in the model's folder, as `tintype export --lora` writes it: tensors
`COMPONENT.MODULE.A` [in, r], of a convolution [in, down, across, r], and `COMPONENT.MODULE.B` [r, out]. MODULE is the
layer's name in diffusers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

import numpy as np

from ...errors import InvalidField
from ..files import ModelFileError
from ..runtime.array_cache import freeze
from ..safetensors import TensorFile, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..model import Array

FOLDER, SUFFIX, PREFIX = "loras", ".safetensors", "lora."
MATRICES = ("A", "B")
CACHED_ADAPTERS, CACHED_COMBINATIONS = 4, 2

AdapterWeights: TypeAlias = "tuple[tuple[str, float], ...]"
"""Names and weights of a row's adapters."""
MatrixPair: TypeAlias = "tuple[Array, Array]"
"""A [in, r], or [in, down, across, r] of a convolution, and B [r, out]."""
LayerSizes: TypeAlias = "Mapping[str, tuple[int, ...]]"
"""The layers of a graph that take adapters: (in, out) of each, or (in, down, across, out) of a convolution."""


def names(folder: Path) -> tuple[str, ...]:
    """Return the names of the adapters in a model's folder, sorted."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in (folder / FOLDER).glob(f"*{SUFFIX}")))


def layer_sizes(inputs: Mapping[str, Sequence[object]]) -> dict[str, tuple[int, ...]]:
    """Return the layers that take adapters, from the names and shapes of a graph's optional inputs."""
    shapes = {name: shape for name, shape in inputs.items() if name.startswith(PREFIX)}
    layers = [name.removeprefix(PREFIX).removesuffix(".A") for name in shapes if name.endswith(".A")]
    return {layer: _layer_size(shapes[f"{PREFIX}{layer}.A"], shapes[f"{PREFIX}{layer}.B"]) for layer in layers}


def _layer_size(a: Sequence[object], b: Sequence[object]) -> tuple[int, ...]:
    sides = (a[1], b[2]) if len(a) == 3 else (a[4], a[2], a[3], b[1])
    return tuple(int(str(side)) for side in sides)


class Adapter(dict[str, "dict[str, MatrixPair]"]):
    """The content of one file: pairs of matrices by component and layer."""


class Adapters:
    """The adapters of one model. `sizes` maps its components to the layers that take adapters."""

    def __init__(self, folder: Path, sizes: Mapping[str, LayerSizes]) -> None:
        self._folder, self._sizes = folder, sizes
        self._cached_adapter = lru_cache(CACHED_ADAPTERS)(lambda name: Adapter(self._read(name)))
        self._held: WeakValueDictionary[str, Adapter] = WeakValueDictionary()
        self._cached_inputs = lru_cache(CACHED_COMBINATIONS)(self._combined_inputs)

    def check(self, adapters: AdapterWeights) -> tuple[Adapter, ...]:
        """Return the adapters, which the caller holds until its image is done; files may be deleted meanwhile.

        Raises:
            InvalidField: an adapter does not exist, is damaged, or does not belong to this model.
        """
        return tuple(self._checked(name) for name, _ in adapters)

    def _checked(self, name: str) -> Adapter:
        try:
            return self._load(name)
        except ModelFileError as error:
            raise InvalidField("loras", f"adapter {name!r} {error}") from error

    def _load(self, name: str) -> Adapter:
        """Return an adapter that is held or cached, or read it.

        Raises:
            ModelFileError: the file cannot be used with this model.
        """
        if (adapter := self._held.get(name)) is None:
            self._held[name] = adapter = self._cached_adapter(name)
        return adapter

    def graph_inputs(self, component: str, rows: Sequence[AdapterWeights]) -> dict[str, Array]:
        """Return the inputs of a component's graph for the adapters of each row; {} if no row has any.

        Rows with the same adapters share one pair of matrices. Lower ranks are padded with zeros.
        """
        alike = len(set(rows)) == 1
        return self._cached_inputs(component, tuple(rows[:1] if alike else rows)) if any(rows) else {}

    def _combined_inputs(self, component: str, rows: tuple[AdapterWeights, ...]) -> dict[str, Array]:
        sums = [self._summed(component, adapters) for adapters in rows]
        inputs: dict[str, Array] = {}
        for layer in sorted({layer for row in sums for layer in row}):
            a, b = _stack_pairs([row.get(layer) for row in sums], self._sizes[component][layer])
            inputs |= {f"{PREFIX}{layer}.A": freeze(a), f"{PREFIX}{layer}.B": freeze(b)}
        return inputs

    def _summed(self, component: str, adapters: AdapterWeights) -> dict[str, MatrixPair]:
        """Return the weighted sum of all adapters: one pair for each layer."""
        found: dict[str, list[MatrixPair]] = {}
        for name, weight in adapters:
            for layer, (a, b) in self._load(name).get(component, {}).items():
                found.setdefault(layer, []).append((a, np.float32(weight) * b))
        return {
            layer: (np.concatenate([a for a, _ in pairs], axis=-1), np.concatenate([b for _, b in pairs]))
            for layer, pairs in found.items()
        }

    def _read(self, name: str) -> dict[str, dict[str, MatrixPair]]:
        """Read an adapter; all of its shapes are checked before any number is read.

        Raises:
            ModelFileError: the file is damaged, or does not fit this model.
        """
        file = TensorFile(self._folder / FOLDER / f"{name}{SUFFIX}")
        keys = sorted({name.rpartition(".")[0] for name in file.entries})
        self._check_keys(file, keys)
        pairs: dict[str, dict[str, MatrixPair]] = {}
        for key in keys:
            component, _, layer = key.partition(".")
            a, b = (file.read(f"{key}.{side}") for side in MATRICES)
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                raise ModelFileError(f"changes {printable(key)} by numbers that are not finite")
            pairs.setdefault(component, {})[layer] = a, b
        return pairs

    def _check_keys(self, file: TensorFile, keys: Sequence[str]) -> None:
        if not keys:
            raise ModelFileError("changes no layer")
        for key in keys:
            component, _, layer = key.partition(".")
            self._check_size(component, layer, _pair_size(file, key))
        other = next((name for name in file.entries if name.rpartition(".")[2] not in MATRICES), None)
        if other:
            raise ModelFileError(f"holds {printable(other)}, which is neither A nor B")

    def _check_size(self, component: str, layer: str, size: tuple[int, ...]) -> None:
        sizes, key = self._sizes.get(component, {}), printable(f"{component}.{layer}")
        if not sizes:
            raise ModelFileError(
                f"changes the {printable(component)}, which takes no adapters in this model: "
                "export it with --with-lora (OpenVINO's own runtime takes none)"
            )
        if layer not in sizes and len(size) > 2 and all(len(known) == 2 for known in sizes.values()):
            raise ModelFileError(
                f"changes {key}, but no convolution of this model takes adapters: export it with --with-lora"
            )
        if layer not in sizes:
            raise ModelFileError(f"changes {key}, which this model does not have: it was made for another model")
        if sizes[layer] != size:
            expected = describe_size(sizes[layer])
            raise ModelFileError(f"changes {key} {describe_size(size)}, which is {expected} in this model")


def _pair_size(file: TensorFile, key: str) -> tuple[int, ...]:
    """Return the size of the layer that a pair of matrices changes.

    Raises:
        ModelFileError: a matrix is missing, or both do not fit together.
    """
    a, b = (file.entries[name].shape if name in file.entries else () for name in (f"{key}.A", f"{key}.B"))
    if len(a) not in (2, 4) or len(b) != 2 or a[-1] != b[0] or "." not in key:
        raise ModelFileError(f"must hold two matrices {printable(key)}.A [in, rank] and {printable(key)}.B [rank, out]")
    return *a[:-1], b[1]


def describe_size(size: Sequence[int]) -> str:
    """Return a layer's size in words: "from 3 to 4", or of a convolution "from 3 to 4 by 3 x 3"."""
    wide, *kernel, out = size
    return f"from {wide} to {out}" + (f" by {' x '.join(map(str, kernel))}" if kernel else "")


def _stack_pairs(pairs: Sequence[MatrixPair | None], size: tuple[int, ...]) -> MatrixPair:
    """Return the pairs of all rows in the layout of the graph's inputs; lower ranks are padded with zeros."""
    *wide, out = size
    rank = max(len(pair[1]) for pair in pairs if pair)
    a, b = np.zeros((len(pairs), *wide, rank), np.float32), np.zeros((len(pairs), rank, out), np.float32)
    for n, pair in enumerate(pairs):
        if pair:
            a[n, ..., : len(pair[1])], b[n, : len(pair[1])] = pair
    if len(wide) == 1:
        return a, b
    return np.ascontiguousarray(a.transpose(0, 4, 2, 3, 1)), np.ascontiguousarray(b.transpose(0, 2, 1))
