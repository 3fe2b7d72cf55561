"""Adapters fused into the weights before tracing: `tintype export --fuse-lora FILE[:WEIGHT]`.

This serves every kind of `.adapter_file`, DoRA and changes of norms and biases too, for all requests alike.
Several are fused in the order in which they are named. A DoRA is fused to what the ones before it left, and its weight
is one of its product, as PEFT counts it: W becomes m (W + weight * B A) / |W + weight * B A|.
Everything is checked against the outline of the pipeline, before any weights of it are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tintype.service.models.folder.checks import sha256
from tintype.service.models.safetensors import shown

from .adapter_file import PEFT_NOTES, fitted, read, scaled
from .layers import Layers, known

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from .adapter_file import Array, Change, Published
    from .layers import Place

NORMS = ("lora_magnitude_vector", "dora_scale")
"""Roles of the norms of DoRA: PEFT's are of the outputs, LyCORIS's of those or of the inputs, as their shape says."""
BIASES = ("bias", "diff_b")


@dataclass(frozen=True, slots=True)
class Chosen:
    """An adapter to fuse, and its weight."""

    path: Path
    weight: float

    def key(self) -> tuple[str, str, float]:
        """Return hashes of file, PEFT's notes and weight: they identify the result."""
        notes = self.path.with_name(PEFT_NOTES)
        return sha256(self.path), sha256(notes) if notes.is_file() else "", self.weight


class Fusion:
    """The adapters to fuse, compared with the pipeline's modules `parts`.

    Raises Refused. `folder` is the source's, whose model_index.json says which names there may be.
    """

    def __init__(self, chosen: Sequence[Chosen], parts: Mapping[str, torch.nn.Module], folder: Path) -> None:
        weighted = {part: dict(_weighted(module)) for part, module in parts.items()}
        layers = Layers(weighted)
        self._files = [(known(read(one.path, layers.denoiser), layers, folder), one.weight) for one in chosen]
        self._places: dict[tuple[Path, str], Place] = {}
        for file, _ in self._files:
            for change in file.changes:
                place = layers.find(change.name)
                if place is None:
                    raise file.refuse(f"changes {shown(change.name)}, which this model has not")
                _check(file, change, place, [weighted[place.part][module] for module in place.modules])
                self._places[file.path, change.name] = place

    def fuse(self, part: str, module: torch.nn.Module) -> Iterator[str]:
        """Change the weights of a part in place; yield lines to report."""
        for file, weight in self._files:
            places = ((change, self._places[file.path, change.name]) for change in file.changes)
            changes = [(change, place) for change, place in places if place.part == part]
            for change, place in changes:
                scale = scaled(file, change, part, place.modules[0])
                with torch.no_grad():
                    _apply(change, place, [module.get_submodule(name) for name in place.modules], scale, weight)
            if changes:
                yield f"fused {file.path.name} with weight {weight:g}: {len(changes)} layers"


def _weighted(module: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the layers of a module that have weights, by their names."""
    yield from ((name, layer) for name, layer in module.named_modules() if _has(layer, "weight"))


def _has(layer: Any, parameter: str) -> bool:
    return isinstance(getattr(layer, parameter, None), torch.nn.Parameter)


def _check(file: Published, change: Change, place: Place, modules: Sequence[Any]) -> None:
    """Compare a change with the layers that it is of. Raises Refused."""
    first, out = modules[0].weight.shape, sum(len(module.weight) for module in modules)
    fitted(file, change, (out, *first[1:]))
    scaled(file, change, place.part, place.modules[0])
    name = shown(place.name)
    for role in (role for role in BIASES if role in change.fields):
        there = all(_has(module, "bias") for module in modules)
        if not there or change.fields[role].size != out:
            has = f"has {out} numbers" if there else "has none"
            raise file.refuse(f"changes the bias of {name} by {change.fields[role].size} numbers, which {has} here")
    for role in (role for role in NORMS if role in change.fields):
        axis = _axis(change, role)
        norms = out if axis == 0 else first[1]
        if not change.pairs or len(first) < 2 or change.fields[role].size != norms:
            raise file.refuse(f"tells {change.fields[role].size} norms of {name}, which has {norms}")


def _axis(change: Change, role: str) -> int:
    """Return the axis of the weights along which a DoRA's norms run."""
    shape = change.fields[role].shape
    return int(role == "dora_scale" and len(shape) > 1 and shape[0] == 1)


def _apply(change: Change, place: Place, modules: Sequence[Any], scale: float, weight: float) -> None:
    """Change several layers that the author of the change has as one.

    Their weights and biases lie one below the other.
    """
    parameters = [module.weight for module in modules]
    if change.pairs:
        weights = _joined(parameters, place)
        weights = weights + np.float32(scale * weight) * change.matrix().reshape(weights.shape)
        for role in (role for role in NORMS if role in change.fields):
            weights = _normed(weights, change.fields[role], _axis(change, role))
        _put(parameters, weights, place)
    for role in (role for role in BIASES if role in change.fields):
        biases = [module.bias for module in modules]
        factor = np.float32(weight if role == "diff_b" else scale * weight)
        _put(biases, _joined(biases, place) + factor * change.fields[role].ravel(), place)


def _normed(weights: Array, norms: Array, axis: int) -> Array:
    """Return weights whose slices along `axis` have these norms."""
    others = tuple(place for place in range(weights.ndim) if place != axis)
    there = np.sqrt(np.square(weights).sum(others, keepdims=True))
    made: Array = weights * norms.reshape(there.shape) / np.maximum(there, np.finfo(np.float32).tiny)
    return made


def _joined(parameters: Sequence[torch.Tensor], place: Place) -> Array:
    joined: Array = np.concatenate([parameter.detach().numpy() for parameter in parameters])
    return np.roll(joined, len(joined) // 2, axis=0) if place.swapped else joined


def _put(parameters: Sequence[torch.Tensor], values: Array, place: Place) -> None:
    values = np.roll(values, len(values) // 2, axis=0) if place.swapped else values
    start = 0
    for parameter in parameters:
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values[start : start + len(parameter)])))
        start += len(parameter)
