"""From a published adapter to the matrices of a graph's inputs.

The change of each layer becomes two matrices, with alpha / rank multiplied into B. A LoRA has these matrices. LoHa,
LoKr and full differences are exactly B A of a higher rank, which takes more space; that space is limited. DoRA is not a
sum, and changes of norms and biases are not graph inputs: only `tintype export --fuse-lora` takes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..files import ModelFileError
from ..safetensors import printable
from .adapter_file import check_shape
from .changes import FULL, LORA, all_finite
from .layer_sizes import Adapter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .adapter_file import AdapterFile
    from .changes import Factors, LayerChange
    from .layer_index import LayerIndex, LayerMatch
    from .layer_sizes import LayerSizes, MatrixPair

NO_INPUTS = (
    "export it with --with-lora; a model of published weights must be unloaded and loaded again once it has the folder "
    "loras (OpenVINO's own runtime takes none)"
)
MAX_NUMBERS = 2**28
"""Limit for the matrices of kinds other than LoRA, in float32 numbers: 1 GiB, the size of the largest LoRAs."""
MAX_RANK = 2**13
"""Limit for the rank of a product in a file; published ones have at most 1,024."""
NORMS = ("dora_scale", "lora_magnitude_vector")
"""Roles of DoRA's norms."""
BIASES = ("diff_b", "bias")


def convert(file: AdapterFile, layers: LayerIndex, sizes: Mapping[str, LayerSizes]) -> Adapter:
    """Return the matrices of a published adapter.

    `layers` are the model's layers by name, and `sizes` those that take adapters, by component. All names are resolved
    before any number is read, and then one layer is read after the other.

    Raises:
        ModelFileError: a change does not fit the model, or cannot be a graph input.
    """
    if not any(sizes.values()):
        raise ModelFileError(f"cannot be used, as this model takes no adapters: {NO_INPUTS}")
    adapter, needed = Adapter(), 0
    for name, match in _matches(file, layers, sizes):
        change = file.change(name)
        _check(file, change, match, sizes[match.part])
        needed += _expanded_numbers(change)
        if needed > MAX_NUMBERS:
            raise ModelFileError(
                f"takes more than {4 * MAX_NUMBERS >> 20} MiB, as two matrices for each layer of a {change.kind.name}: "
                f"{_advice(file)}"
            )
        if change.factors:
            _add(adapter, match, _pairs(file, change, match, sizes[match.part]), change.name)
    return adapter


def _matches(
    file: AdapterFile, layers: LayerIndex, sizes: Mapping[str, LayerSizes]
) -> Sequence[tuple[str, LayerMatch]]:
    """Return the layers of each change by its name in the file, without changes that have no effect.

    A repeated layer is left out if the file has all of its parts.
    """
    found = {name: layers.find(name) for name in sorted(file.layers)}
    usable = {name: match for name, match in found.items() if match and match.is_within(sizes)}
    for name in sorted(name for name in found.keys() - usable.keys() if not layers.is_unread(name)):
        change = file.change(name)
        if not change.is_zero():
            raise ModelFileError(_missing(file, change, layers, sizes))
    parts = {(match.part, module) for match in usable.values() if not match.repeated for module in match.modules}
    return [
        (name, match)
        for name, match in usable.items()
        if not (match.repeated and all((match.part, module) in parts for module in match.modules))
    ]


def _missing(file: AdapterFile, change: LayerChange, layers: LayerIndex, sizes: Mapping[str, LayerSizes]) -> str:
    """Return why a layer takes no adapters."""
    (part, rest), match = layers.component(change.name), layers.find(change.name)
    own = sizes.get(part)
    name = printable(match.name if match else f"{part}.{rest}")
    if own is not None and not own:
        return f"changes the {part}, which takes no adapters in this model: {_advice(file)}"
    kernel = change.kind is LORA and change.fields["down"].shape[2:] not in {(), (1, 1)}
    if own and kernel and all(len(size) == 2 for size in own.values()):
        return f"changes {name}, but no convolution of this model takes adapters: export it again with --with-lora"
    if match or (change.kind is FULL and change.fields.get("diff", np.empty(0)).ndim == 1):
        return f"changes {name}, which takes no adapters; {_advice(file)}"
    return f"changes {name}, which this model does not have: it was made for another model"


def _advice(file: AdapterFile) -> str:
    return f"use `tintype export MODEL OUT --fuse-lora {file.path.name}`"


def _check(file: AdapterFile, change: LayerChange, match: LayerMatch, sizes: LayerSizes) -> None:
    """Check that a change can be a graph input of its layers. Raises ModelFileError."""
    norms = any(role in change.fields for role in NORMS)
    if norms or any(change.fields[role].any() for role in BIASES if role in change.fields):
        kind = "DoRA" if norms else "change of a bias"
        raise ModelFileError(
            f"changes {printable(match.name)} by a {kind}, which a request cannot choose: {_advice(file)}"
        )
    own = [sizes[module] for module in match.modules]
    check_shape(change, (sum(size[-1] for size in own), *own[0][:-1]))
    rank = max((len(a) for _, a in change.factors), default=0)
    if change.kind is not FULL and rank > MAX_RANK:
        raise ModelFileError(f"changes {printable(match.name)} by the rank {rank}; the limit is {MAX_RANK}")


def _expanded_numbers(change: LayerChange) -> int:
    """Return the numbers of both matrices of a kind other than LoRA; the file can be much smaller."""
    return 0 if change.kind is LORA or not change.factors else min(change.rank, *change.size) * sum(change.size)


def _pairs(file: AdapterFile, change: LayerChange, match: LayerMatch, sizes: LayerSizes) -> list[MatrixPair]:
    """Return the matrices of each layer of a change; layers that the file has as one share A."""
    with np.errstate(over="ignore", invalid="ignore"):
        up, down = change.product()
        scale = file.scale(change, match.part, match.modules[0])
        up = up if scale == 1 else up * np.float32(scale)
    if not (all_finite(up) and all_finite(down)):
        raise ModelFileError(f"changes {printable(match.name)} by numbers that are not finite")
    up = np.roll(up, len(up) // 2, axis=0) if match.swapped else up
    wide = sizes[match.modules[0]][:-1]
    a = np.ascontiguousarray(np.moveaxis(down.reshape(len(down), *wide), 0, -1), np.float32)
    ends = np.cumsum([sizes[module][-1] for module in match.modules])
    return [(a, np.ascontiguousarray(rows.T, np.float32)) for rows in np.split(up, ends[:-1])]


def _add(adapter: Adapter, match: LayerMatch, pairs: Sequence[Factors], name: str) -> None:
    own = adapter.setdefault(match.part, {})
    for module, pair in zip(match.modules, pairs, strict=True):
        if module in own:
            raise ModelFileError(f"changes {match.part}.{module} twice, also as {printable(name)}")
        own[module] = pair
