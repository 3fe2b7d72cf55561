"""`tintype export --lora ADAPTER MODEL_FOLDER`: convert a published adapter to a file that the service reads.

The change of each layer becomes two matrices in the service's layout (`service.models.pipeline.adapters`), with alpha /
rank multiplied into B. A LoRA has these matrices. LoHa, LoKr and full differences are exactly B A of a higher rank,
which takes more space; that space is limited. DoRA is not a sum, and changes of norms and biases are not graph inputs:
only `adapters.fuse` takes them. The service's own check runs before the file is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file

from tintype.service.errors import InvalidField
from tintype.service.models.pipeline.adapters import FOLDER, SUFFIX, Adapters, layer_sizes
from tintype.service.models.safetensors import printable

from ..console import format_bytes
from ..errors import ExportRefusal
from ..graph.session import layers_of, optional_inputs
from ..model_folder import GRAPH
from .adapter_file import read
from .changes import LORA
from .converters import resolve_names
from .layers import LayerIndex

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .adapter_file import AdapterFile
    from .changes import Array, Factors, LayerChange
    from .layers import LayerMatch

    LayerSizes = Mapping[str, tuple[int, ...]]
    """Layer name -> its input and output sizes: (in, out), or (in, down, across, out)."""

COMPONENTS = ("text_encoder", "text_encoder_2", "text_encoder_3", "unet", "transformer")
MAX_NUMBERS = 2**28
"""Limit for the matrices of kinds other than LoRA, in float32 numbers: 1 GiB, the size of the largest LoRAs."""
FUSED_ONLY = ("dora_scale", "lora_magnitude_vector", "diff_b", "bias")
"""Roles of tensors that can only be fused."""


def run(adapter: Path, model: Path, name: str, *, force: bool = False) -> Path:
    """Convert the file `adapter` to loras/`name`.safetensors in the folder `model`, and return its path.

    Raises ExportRefusal if `adapter` is not an adapter or does not fit the model.
    """
    out = model / FOLDER / f"{name}{SUFFIX}"
    if out.exists() and not force:
        raise ExportRefusal(f"{out} already exists; --force replaces it")
    graphs = {part: model / part / GRAPH for part in COMPONENTS if (model / part / GRAPH).exists()}
    inputs = {part: layer_sizes(optional_inputs(graph)) for part, graph in graphs.items()}
    if not any(inputs.values()):
        raise ExportRefusal(f"{model} takes no adapters: export it again with --with-lora")
    layers = LayerIndex({part: {*layers_of(graph), *inputs[part]} for part, graph in graphs.items()})
    file = resolve_names(read(adapter, layers.denoiser), layers, model)
    _write(_matrices(file, layers, inputs), out, model, inputs)
    return out


def _write(tensors: dict[str, torch.Tensor], out: Path, model: Path, inputs: Mapping[str, LayerSizes]) -> None:
    out.parent.mkdir(exist_ok=True)
    partial = out.with_name(f"{out.stem}.partial{SUFFIX}")
    try:
        save_file(tensors, partial)
        Adapters(model, inputs).check(((f"{out.stem}.partial", 1.0),))
        partial.replace(out)
    except InvalidField as error:
        raise ExportRefusal(str(error).replace(".partial", "")) from None
    finally:
        partial.unlink(missing_ok=True)


def _matrices(file: AdapterFile, layers: LayerIndex, inputs: Mapping[str, LayerSizes]) -> dict[str, torch.Tensor]:
    """Return the tensors in the service's names and layout. Raises ExportRefusal for a change that has no input."""
    tensors: dict[str, torch.Tensor] = {}
    matched = [(change, _match(file, change, layers, inputs)) for change in file.changes]
    _check_size(file)
    for change, match in matched:
        up, down = change.product()
        up = up * np.float32(file.scale(change, match.part, match.modules[0]))
        up = np.roll(up, len(up) // 2, axis=0) if match.swapped else up
        start = 0
        for module in match.modules:
            *size, out = inputs[match.part][module]
            name = f"{match.part}.{module}"
            if f"{name}.A" in tensors:
                raise file.refuse(f"changes {name} twice, also as {printable(change.name)}")
            tensors |= _lay_out(name, (up[start : start + out], down), size)
            start += out
    return tensors


def _match(file: AdapterFile, change: LayerChange, layers: LayerIndex, inputs: Mapping[str, LayerSizes]) -> LayerMatch:
    """Return the layers of a change. Raises ExportRefusal if it does not fit, or cannot be a graph input."""
    match = layers.find(change.name)
    if match is None:
        raise file.refuse(f"changes {printable(change.name)}, which this model does not have")
    name, advice = printable(match.name), f"use `tintype export MODEL OUT --fuse-lora {file.path.name}`"
    fixed = next((role for role in FUSED_ONLY if role in change.fields), None)
    if fixed:
        kind = "DoRA" if fixed in FUSED_ONLY[:2] else "change of a bias"
        raise file.refuse(f"changes {name} by a {kind}, which a request cannot choose: {advice}")
    sizes = [inputs.get(match.part, {}).get(module) for module in match.modules]
    for module, size in zip(match.modules, sizes, strict=True):
        if size is None:
            reason = _missing_input(change, inputs[match.part])
            raise file.refuse(f"changes {printable(f'{match.part}.{module}')}, {reason}; {advice}")
    (first, *_), out = sizes, sum(size[-1] for size in sizes if size)
    file.check_shape(change, (out, *(first or ())[:-1]))
    return match


def _missing_input(change: LayerChange, inputs: LayerSizes) -> str:
    """Return why an existing layer takes no adapters."""
    if not inputs:
        return "but this component takes no adapters"
    if change.factors and all(len(size) == 2 for size in inputs.values()):
        return "but this export takes no adapters there: export the model again with --with-lora"
    return "which takes no adapters"


def _check_size(file: AdapterFile) -> None:
    """Refuse a kind other than LoRA whose two matrices for each layer are too large; its file can be much smaller."""
    expanded = [change for change in file.changes if change.kind is not LORA]
    needed = sum(min(change.rank, *change.size) * sum(change.size) for change in expanded)
    if needed > MAX_NUMBERS:
        raise file.refuse(
            f"as two matrices for each layer this {expanded[0].kind.name} takes {format_bytes(4 * needed)}; the limit "
            f"is {format_bytes(4 * MAX_NUMBERS)}: use `tintype export MODEL OUT --fuse-lora {file.path.name}`"
        )


def _lay_out(name: str, factors: Factors, size: list[int]) -> dict[str, torch.Tensor]:
    """Return a layer's A [in, r], or [in, down, across, r] for a convolution, and its B [r, out]."""
    up, down = factors
    return {f"{name}.A": _tensor(np.moveaxis(down.reshape(len(down), *size), 0, -1)), f"{name}.B": _tensor(up.T)}


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
