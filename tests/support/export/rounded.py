"""Rounded weights in torch: what a graph holds of them is put back into the modules that it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

# Of 255, on average over a picture: how far rounded weights may move it. Random weights forgive less than trained ones.
PRECISIONS = {"fp16": 0.25, "int8": 8.0}
# Module of the pipeline -> the graphs that hold its weights, where these are not called as it is.
GRAPHS = {"vae": ("vae_encoder", "vae_decoder")}


def take_weights(pipeline: Any, folder: Path) -> None:
    """Give each module of `pipeline`, in place, the weights of the graphs in `folder`, as these compute with them."""
    for part, module in pipeline.components.items():
        paths = [folder / name / "model.onnx" for name in GRAPHS.get(part, (part,))]
        if isinstance(module, torch.nn.Module) and paths[0].exists():
            _take(module, {name: value for path in paths for name, value in _weights(path).items()})


def _take(module: torch.nn.Module, weights: dict[str, Any]) -> None:
    taken = {name: weight for name, weight in module.state_dict().items() if name in weights}
    assert taken, "the graph's weights have other names"
    with torch.no_grad():
        for name, weight in taken.items():
            # Graphs hold some matrices turned, and a square one does not tell.
            both = [torch.from_numpy(np.array(value)) for value in (weights[name], weights[name].T)]
            fitting = [value for value in both if value.shape == weight.shape]
            weight.copy_(min(fitting, key=lambda value: float((value - weight).abs().max())))


def _weights(path: Path) -> dict[str, Any]:
    """Return a graph's weights by their names in the module, float32."""
    graph = onnx.load(path).graph
    held = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    made = {name.removesuffix(".half"): value.astype(np.float32) for name, value in held.items()}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            whole, scale = (held[name] for name in node.input)
            (axis,) = (attribute.i for attribute in node.attribute if attribute.name == "axis")
            places = [-1 if place == axis else 1 for place in range(whole.ndim)]
            made[node.input[0].removesuffix(".int8")] = whole.astype(np.float32) * scale.reshape(places)
    return made
