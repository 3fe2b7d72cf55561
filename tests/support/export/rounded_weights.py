"""Load the rounded weights of graphs back into their torch modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

# Largest allowed mean change of an image by rounded weights, of 255. Random weights are more sensitive than trained
# ones.
MEAN_LIMITS = {"fp16": 0.25, "int8": 8.0}
# The graphs of CLIP have the names of published files, which transformers 5 dropped from its modules.
PREFIXES = ("", "text_model.")
# Module of the pipeline -> names of the graphs with its weights, if they differ from the module's.
GRAPHS = {"vae": ("vae_encoder", "vae_decoder")}


def take_weights(pipeline: Any, folder: Path) -> None:
    """Set the weights of each module of `pipeline` to those that the graphs in `folder` compute with."""
    for part, module in pipeline.components.items():
        paths = [folder / name / "model.onnx" for name in GRAPHS.get(part, (part,))]
        if isinstance(module, torch.nn.Module) and paths[0].exists():
            _take(module, {name: value for path in paths for name, value in _weights(path).items()})


def _take(module: torch.nn.Module, weights: dict[str, Any]) -> None:
    own = module.state_dict().items()
    taken = {prefix + name: weight for name, weight in own for prefix in PREFIXES if prefix + name in weights}
    assert taken, "the graph's weights have other names"
    with torch.no_grad():
        for name, weight in taken.items():
            # Graphs hold some matrices transposed; the shape of a square one does not show it.
            both = [torch.from_numpy(np.array(value)) for value in (weights[name], weights[name].T)]
            fitting = [value for value in both if value.shape == weight.shape]
            weight.copy_(min(fitting, key=lambda value: float((value - weight).abs().max())))


def _weights(path: Path) -> dict[str, Any]:
    """Return a graph's weights in float32, by their names in the module."""
    graph = onnx.load(path).graph
    held = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    made = {name.removesuffix(".half"): value.astype(np.float32) for name, value in held.items()}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            whole, scale = (held[name] for name in node.input)
            (axis,) = (attribute.i for attribute in node.attribute if attribute.name == "axis")
            shape = [-1 if other == axis else 1 for other in range(whole.ndim)]
            made[node.input[0].removesuffix(".int8")] = whole.astype(np.float32) * scale.reshape(shape)
    return made
