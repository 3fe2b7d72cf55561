"""Reading adapter files: our own layout, and every published one.

Our layout, which `tintype export --lora` writes, has tensors `COMPONENT.MODULE.A` [in, r], of a convolution
[in, down, across, r], and `COMPONENT.MODULE.B` [r, out]. MODULE is the layer's name in diffusers. A file in another
layout is a published one (`adapter_file`), which `conversion` turns into the same matrices.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..files import ModelFileError
from ..safetensors import MAX_BYTES, TensorFile, printable
from .adapter_file import AdapterFile
from .changes import all_finite
from .conversion import NO_INPUTS, convert
from .layer_sizes import Adapter, describe_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .layer_index import LayerIndex
    from .layer_sizes import LayerSizes, MatrixPair

MATRICES = ("A", "B")
MAX_TENSORS = 2**16
"""Limit for the tensors of a file; the largest published adapters have a quarter of that."""
MAX_NUMBERS = 2**31
"""Limit for the numbers of a file, which are float32 in memory; all of FLUX.1 at rank 256 takes half of that."""


def read_adapter(
    path: Path, sizes: Mapping[str, LayerSizes], layers: LayerIndex, config: Path | None = None
) -> Adapter:
    """Read an adapter for a model whose components take adapters at `sizes`.

    Args:
        path: The file, in any layout.
        sizes: The layers that take adapters, by component.
        layers: The layers of the model, at least those of `sizes`.
        config: PEFT's adapter_config.json for this file, by default the file's own name with `.json`.

    Raises:
        ModelFileError: the file is damaged, or does not fit this model; the message names the layer.
    """
    # A model's weights, which may be larger than any adapter, are reported as such by their names.
    file = TensorFile(path, most=2**63)
    if len(file.entries) > MAX_TENSORS:
        raise ModelFileError(f"holds {len(file.entries)} tensors; the limit is {MAX_TENSORS}")
    if any(_is_native(name) for name in file.entries):
        _check_amount(file)
        return _read_native(file, sizes)
    published = AdapterFile(file, layers.denoiser, config or path.with_suffix(".json"))
    _check_amount(file)
    return convert(published, layers, sizes)


def _is_native(name: str) -> bool:
    return name.rpartition(".")[2] in MATRICES


def _check_amount(file: TensorFile) -> None:
    size, numbers = file.path.stat().st_size, sum(math.prod(entry.shape) for entry in file.entries.values())
    if size > MAX_BYTES:
        raise ModelFileError(f"must have at most {MAX_BYTES} bytes, not {size}")
    if numbers > MAX_NUMBERS:
        raise ModelFileError(f"holds {numbers} numbers; the limit is {MAX_NUMBERS}")


def _read_native(file: TensorFile, sizes: Mapping[str, LayerSizes]) -> Adapter:
    """Read an adapter in our layout; all of its shapes are checked before any number is read."""
    keys = sorted({name.rpartition(".")[0] for name in file.entries})
    for key in keys:
        component, _, layer = key.partition(".")
        _check_size(sizes.get(component, {}), component, layer, _pair_size(file, key))
    other = next((name for name in file.entries if not _is_native(name)), None)
    if other:
        raise ModelFileError(f"holds {printable(other)}, which is neither A nor B")
    adapter = Adapter()
    for key in keys:
        component, _, layer = key.partition(".")
        adapter.setdefault(component, {})[layer] = _read_pair(file, key)
    return adapter


def _read_pair(file: TensorFile, key: str) -> MatrixPair:
    a, b = (file.read(f"{key}.{side}") for side in MATRICES)
    if not (all_finite(a) and all_finite(b)):
        raise ModelFileError(f"changes {printable(key)} by numbers that are not finite")
    return a, b


def _check_size(sizes: LayerSizes, component: str, layer: str, size: tuple[int, ...]) -> None:
    key = printable(f"{component}.{layer}")
    if not sizes:
        raise ModelFileError(f"changes the {printable(component)}, which takes no adapters in this model: {NO_INPUTS}")
    if layer not in sizes and len(size) > 2 and all(len(known) == 2 for known in sizes.values()):
        raise ModelFileError(
            f"changes {key}, but no convolution of this model takes adapters: export it again with --with-lora"
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
