"""`tintype export --fuse-lora FILE[:WEIGHT]`: add adapters to the weights before tracing.

All requests then use the adapters. Every kind of `changes` can be fused, including DoRA and changes of norms
and biases. Several adapters are fused in the order of the command line: a DoRA applies to the result of those before
it. The weight of a DoRA scales its product, as in PEFT: W becomes m (W + weight * B A) / |W + weight * B A|.
All changes are checked against the outline of the pipeline before any weights are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tintype.service.models.adapters.adapter_file import check_shape
from tintype.service.models.adapters.conversion import BIASES, NORMS
from tintype.service.models.adapters.layer_index import LayerIndex
from tintype.service.models.files import ModelFileError, sha256
from tintype.service.models.safetensors import printable

from .published_file import PEFT_CONFIG, read, refusals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tintype.service.models.adapters.adapter_file import AdapterFile
    from tintype.service.models.adapters.changes import Array, LayerChange
    from tintype.service.models.adapters.layer_index import LayerMatch


@dataclass(frozen=True, slots=True)
class FusedAdapter:
    """An adapter to fuse, and its weight."""

    path: Path
    weight: float

    def key(self) -> tuple[str, str, float]:
        """Return the hashes of the file and of PEFT's metadata, and the weight: together they identify the result."""
        config = self.path.with_name(PEFT_CONFIG)
        return sha256(self.path), sha256(config) if config.is_file() else "", self.weight


@dataclass(frozen=True, slots=True)
class _CheckedAdapter:
    """An adapter whose changes fit the pipeline, each with the layers that it changes."""

    file: AdapterFile
    weight: float
    changes: Sequence[tuple[LayerChange, LayerMatch]]


class AdapterFusion:
    """Adapters to fuse, checked against the pipeline's modules `parts`. Raises ExportRefusal."""

    def __init__(self, adapters: Sequence[FusedAdapter], parts: Mapping[str, torch.nn.Module]) -> None:
        weighted = {part: dict(_weighted_layers(module)) for part, module in parts.items()}
        layers = LayerIndex(weighted)
        self._adapters = [_check_adapter(adapter, layers, weighted) for adapter in adapters]

    def fuse(self, part: str, module: torch.nn.Module) -> Iterator[str]:
        """Change the weights of a part in place; yield lines for the progress log."""
        for adapter in self._adapters:
            changes = [(change, match) for change, match in adapter.changes if match.part == part]
            for change, match in changes:
                scale = adapter.file.scale(change, part, match.modules[0])
                with torch.no_grad():
                    modules = [module.get_submodule(name) for name in match.modules]
                    _apply(change, match, modules, scale, adapter.weight)
            if changes:
                yield f"fused {adapter.file.path.name} with weight {adapter.weight:g}: {len(changes)} layers"


def _check_adapter(
    adapter: FusedAdapter, layers: LayerIndex, weighted: Mapping[str, Mapping[str, Any]]
) -> _CheckedAdapter:
    """Read an adapter; check that it fits the layers with weights, `weighted` by component. Raises ExportRefusal."""
    file = read(adapter.path, layers.denoiser)
    changes: list[tuple[LayerChange, LayerMatch]] = []
    with refusals(adapter.path):
        for change in file.changes():
            match = layers.find(change.name)
            if match is not None:
                _check(file, change, match, [weighted[match.part][module] for module in match.modules])
                changes.append((change, match))
            elif not change.is_zero():
                name = printable(".".join(layers.component(change.name)))
                raise ModelFileError(f"changes {name}, which this model does not have: it was made for another model")
    return _CheckedAdapter(file, adapter.weight, changes)


def _weighted_layers(module: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the layers of a module that have weights, with their names."""
    yield from ((name, layer) for name, layer in module.named_modules() if _has(layer, "weight"))


def _has(layer: Any, parameter: str) -> bool:
    return isinstance(getattr(layer, parameter, None), torch.nn.Parameter)


def _check(file: AdapterFile, change: LayerChange, match: LayerMatch, modules: Sequence[Any]) -> None:
    """Check that a change fits its layers. Raises ModelFileError."""
    first, out = modules[0].weight.shape, sum(len(module.weight) for module in modules)
    check_shape(change, (out, *first[1:]))
    file.scale(change, match.part, match.modules[0])
    name = printable(match.name)
    for role in (role for role in BIASES if role in change.fields):
        has_bias = all(_has(module, "bias") for module in modules)
        if not has_bias or change.fields[role].size != out:
            expected = f"has {out} numbers" if has_bias else "does not exist"
            raise ModelFileError(
                f"changes the bias of {name} by {change.fields[role].size} numbers; that bias {expected}"
            )
    for role in (role for role in NORMS if role in change.fields):
        norms = out if _norm_axis(change, role) == 0 else first[1]
        if not change.factors or len(first) < 2 or change.fields[role].size != norms:
            raise ModelFileError(f"has {change.fields[role].size} norms for {name}, which needs {norms}")


def _norm_axis(change: LayerChange, role: str) -> int:
    """Return the axis of the weights along which a DoRA's norms run."""
    shape = change.fields[role].shape
    return int(role == "dora_scale" and len(shape) > 1 and shape[0] == 1)


def _apply(change: LayerChange, match: LayerMatch, modules: Sequence[Any], scale: float, weight: float) -> None:
    """Apply a change to its modules in place; their weights and biases are stacked along the outputs."""
    parameters = [module.weight for module in modules]
    if change.factors:
        weights = _stack(parameters, match)
        weights = weights + np.float32(scale * weight) * change.matrix().reshape(weights.shape)
        for role in (role for role in NORMS if role in change.fields):
            weights = _set_norms(weights, change.fields[role], _norm_axis(change, role))
        _store(parameters, weights, match)
    for role in (role for role in BIASES if role in change.fields):
        biases = [module.bias for module in modules]
        factor = np.float32(weight if role == "diff_b" else scale * weight)
        _store(biases, _stack(biases, match) + factor * change.fields[role].ravel(), match)


def _set_norms(weights: Array, norms: Array, axis: int) -> Array:
    """Return the weights with their slices along `axis` scaled to these norms."""
    others = tuple(other for other in range(weights.ndim) if other != axis)
    current = np.sqrt(np.square(weights).sum(others, keepdims=True))
    scaled: Array = weights * norms.reshape(current.shape) / np.maximum(current, np.finfo(np.float32).tiny)
    return scaled


def _stack(parameters: Sequence[torch.Tensor], match: LayerMatch) -> Array:
    stacked: Array = np.concatenate([parameter.detach().numpy() for parameter in parameters])
    return np.roll(stacked, len(stacked) // 2, axis=0) if match.swapped else stacked


def _store(parameters: Sequence[torch.Tensor], values: Array, match: LayerMatch) -> None:
    values = np.roll(values, len(values) // 2, axis=0) if match.swapped else values
    start = 0
    for parameter in parameters:
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values[start : start + len(parameter)])))
        start += len(parameter)
