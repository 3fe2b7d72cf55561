"""Adapters (LoRA, Hu et al. 2106.09685): small changes to a model's layers, chosen by each request.

A linear layer x W of a graph that takes adapters computes x W + (x A) B. A [n, in, r] and B [n, r, out] are inputs
whose default has rank 0; n is 1, or the number of rows of a call. Several adapters with weights are fed as one of their
summed rank: all A side by side, all B below each other, each B times its weight.
A convolution computes conv(x, W) + B conv(x, A), with A [n, r, down, across, in] and B [n, out, r]
(`export.graph.adapter_inputs`).

An adapter is a file `loras/NAME.safetensors` in the model's folder (`reading`).
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ...errors import InvalidField
from ..files import ModelFileError
from ..runtime.array_cache import freeze
from .adapter_cache import AdapterCache
from .layer_index import LayerIndex
from .layer_sizes import PREFIX
from .reading import read_adapter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ..model import Array
    from .layer_sizes import Adapter, LayerSizes, MatrixPair

FOLDER, SUFFIX = "loras", ".safetensors"
CONTROLNETS, IMAGE_ADAPTERS = "controlnets", "image_adapters"
CACHED_ADAPTERS, CACHED_COMBINATIONS = 4, 2

AdapterWeights: TypeAlias = "tuple[tuple[str, float], ...]"
"""Names and weights of a row's adapters."""


def names(folder: Path) -> tuple[str, ...]:
    """Return the names of the adapters in a model's folder, sorted."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in (folder / FOLDER).glob(f"*{SUFFIX}")))


def are_enabled(folder: Path) -> bool:
    """Whether the model's folder has one for adapters, ControlNets or IP-Adapters.

    Graphs made from templates have inputs for them only then.
    """
    return any((folder / name).is_dir() for name in (FOLDER, CONTROLNETS, IMAGE_ADAPTERS))


class Adapters:
    """The adapters of one model. `sizes` maps its components to the layers that take adapters."""

    def __init__(self, folder: Path, sizes: Mapping[str, LayerSizes]) -> None:
        self._folder, self._sizes = folder, sizes
        self._cache = AdapterCache(self._read, CACHED_ADAPTERS)
        self._cached_inputs = lru_cache(CACHED_COMBINATIONS)(self._combined_inputs)

    def read(self, names: Iterable[str]) -> None:
        """Read adapters into the cache, which takes up to seconds. From any thread.

        Raises:
            InvalidField: an adapter does not exist, is damaged, or does not belong to this model.
        """
        for name in names:
            self._checked(name)

    def check(self, adapters: AdapterWeights) -> tuple[Adapter, ...]:
        """Return the adapters, which the caller holds until its image is done; files may be deleted meanwhile.

        Raises:
            InvalidField: an adapter does not exist, is damaged, or does not belong to this model.
        """
        return tuple(self._checked(name) for name, _ in adapters)

    def graph_inputs(self, component: str, rows: Sequence[AdapterWeights]) -> dict[str, Array]:
        """Return the inputs of a component's graph for the adapters of each row; {} if no row has any.

        Rows with the same adapters share one pair of matrices. Lower ranks are padded with zeros.
        """
        alike = len(set(rows)) == 1
        return self._cached_inputs(component, tuple(rows[:1] if alike else rows)) if any(rows) else {}

    @cached_property
    def _layers(self) -> LayerIndex:
        return LayerIndex(self._sizes)

    def _read(self, name: str) -> Adapter:
        return read_adapter(self._folder / FOLDER / f"{name}{SUFFIX}", self._sizes, self._layers)

    def _checked(self, name: str) -> Adapter:
        try:
            return self._cache.get(name)
        except ModelFileError as error:
            # An error of the file begins with its label, one of the adapter is a predicate.
            colon = ":" * str(error).startswith(f"{FOLDER}/{name}{SUFFIX}")
            raise InvalidField("loras", f"adapter {name!r}{colon} {error}") from error

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
            for layer, (a, b) in self._cache.get(name).get(component, {}).items():
                found.setdefault(layer, []).append((a, b if weight == 1 else np.float32(weight) * b))
        return {layer: _concatenate(pairs) for layer, pairs in found.items()}


def _concatenate(pairs: Sequence[MatrixPair]) -> MatrixPair:
    """Return one pair of the summed rank; a single one is not copied, as it may take hundreds of megabytes."""
    if len(pairs) == 1:
        return pairs[0]
    return np.concatenate([a for a, _ in pairs], axis=-1), np.concatenate([b for _, b in pairs])


def _stack_pairs(pairs: Sequence[MatrixPair | None], size: tuple[int, ...]) -> MatrixPair:
    """Return the pairs of all rows in the layout of the graph's inputs; lower ranks are padded with zeros."""
    *wide, out = size
    if len(pairs) == 1 and pairs[0]:
        a, b = (matrix[np.newaxis] for matrix in pairs[0])
    else:
        rank = max(len(pair[1]) for pair in pairs if pair)
        a, b = np.zeros((len(pairs), *wide, rank), np.float32), np.zeros((len(pairs), rank, out), np.float32)
        for n, pair in enumerate(pairs):
            if pair:
                a[n, ..., : len(pair[1])], b[n, : len(pair[1])] = pair
    if len(wide) == 1:
        return a, b
    return np.ascontiguousarray(a.transpose(0, 4, 2, 3, 1)), np.ascontiguousarray(b.transpose(0, 2, 1))
