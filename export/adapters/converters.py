"""Translate layer names that `adapters.layers` does not know with diffusers' own converters.

The converters silently drop tensors that they do not know. So a first conversion is a test: all values of a layer are
replaced by the layer's number, and if a number is missing in the result, the conversion is not used.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import torch

from tintype.service.models.safetensors import printable

from ..console import quiet
from .adapter_file import group_by_layer
from .changes import LORA, read_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .adapter_file import AdapterFile
    from .changes import LayerChange
    from .layers import LayerIndex

    Tensors = dict[str, torch.Tensor]


def resolve_names(file: AdapterFile, layers: LayerIndex, model: Path) -> AdapterFile:
    """Return the file with layer names that `layers` finds, with converted names if necessary.

    Raises ExportRefusal for a layer that the model does not have, and if a converter drops a layer.
    """
    unknown = next((change for change in file.changes if layers.find(change.name) is None), None)
    if unknown is None:
        return file
    converted = _convert(file, layers, model)
    if all(layers.find(change.name) for change in converted.changes):
        return converted
    part, rest = layers.component(unknown.name)
    name = printable(f"{part}.{rest}")
    raise file.refuse(f"changes {name}, which this model does not have: the adapter was made for another model")


def _convert(file: AdapterFile, layers: LayerIndex, model: Path) -> AdapterFile:
    """Return the file renamed by the converter of the model's pipeline, or unchanged if that is not possible."""
    plain = all(change.kind is LORA and set(change.fields) <= {"up", "down", "alpha"} for change in file.changes)
    convert = _converter(model) if plain else None
    if convert is None:
        return file
    try:
        with quiet():
            numbers = [tensor.unique().tolist() for tensor in convert(_numbered(file.changes)).values()]
            missing = {*range(1, len(file.changes) + 1)}.difference(*numbers)
            converted = {} if missing else convert(_with_scale(file, layers))
        tensors = {name: tensor for name, tensor in converted.items() if not name.endswith("alpha")}
        changes = read_changes(group_by_layer(tensors), lambda name: tensors[name].float().numpy())
    except Exception:  # noqa: BLE001 - the converters raise many kinds of errors
        return file
    return replace(file, changes=changes, metadata={})


def _converter(model: Path) -> Callable[[Tensors], Tensors] | None:
    """Return the converter of tensor names of the model's pipeline class, or None if the class takes no adapters."""
    index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
    kind = getattr(diffusers, index["_class_name"])
    if not hasattr(kind, "lora_state_dict"):
        return None
    config = model / "unet" / "config.json"
    options = {"unet_config": SimpleNamespace(**json.loads(config.read_text("utf-8")))} if config.exists() else {}

    def convert(tensors: Tensors) -> Tensors:
        result = kind.lora_state_dict(dict(tensors), **options)
        converted: Tensors = result[0] if isinstance(result, tuple) else result
        return converted

    return convert


def _numbered(changes: Sequence[LayerChange]) -> Tensors:
    """Return the tensors of changes, each filled with the number of its change."""
    return _tensors(changes, lambda n, _, array: torch.full((1,) * array.ndim, float(n)).expand(array.shape))


def _with_scale(file: AdapterFile, layers: LayerIndex) -> Tensors:
    """Return the tensors of changes, with the scale multiplied into B."""

    def value(n: int, role: str, array: Any) -> torch.Tensor:
        change = file.changes[n - 1]
        scale = file.scale(change, *layers.component(change.name)) if role == "up" else 1.0
        return torch.from_numpy(array * np.float32(scale))

    return _tensors(file.changes, value)


def _tensors(changes: Sequence[LayerChange], value: Callable[[int, str, Any], torch.Tensor]) -> Tensors:
    """Return tensors by their names in the file; each alpha equals the rank and so changes nothing."""
    return {
        key: torch.tensor(float(change.rank)) if role == "alpha" else value(n, role, change.fields[role])
        for n, change in enumerate(changes, 1)
        for role, key in change.keys.items()
    }
