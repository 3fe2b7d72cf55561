"""Give a denoiser's scalar `timestep` a batch axis, so that the rows of one call may stand at different steps.

diffusers turns a scalar into a vector by `timesteps[None]`, then expands it over the batch; traced, that is an
Unsqueeze (behind a Cast, where the graph computes in another precision) and an Expand. Without the Unsqueeze the Expand
takes one timestep per row just as well, and still takes `[1]`. Weights are not touched: a graph can be patched without
its external data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# What makes a vector of a scalar: without them it is one already.
LIFTS = ("Unsqueeze", "Reshape")


class ScalarTimestep(ValueError):
    """The graph uses its timestep in a way that leaves no room for one per row."""


def add_batch_axis(model: onnx.ModelProto, name: str = "timestep") -> bool:
    """Let the scalar input `name` take one value per row, in place; False if the graph has none or it is a vector.

    Raises ScalarTimestep where a node other than Cast, Unsqueeze or Reshape reads the scalar.
    """
    graph = model.graph
    entry = next((i for i in graph.input if i.name == name), None)
    if entry is None or entry.type.tensor_type.shape.dim:
        return False
    scalars = _casts_of(graph.node, name)
    lifts = _lifts_of(graph.node, scalars)
    _bypass(graph, lifts, scalars)
    entry.type.tensor_type.shape.dim.add().dim_param = _batch_axis(graph, name)
    del graph.value_info[:]  # they tell the old shapes
    return True


def add_batch_axis_to_file(path: Path, name: str = "timestep") -> bool:
    """`add_batch_axis` for the graph at `path`; its external data is neither read nor written."""
    model = onnx.load(path, load_external_data=False)
    patched = add_batch_axis(model, name)
    if patched:
        onnx.save(model, path)
    return patched


def _casts_of(nodes: Iterable[onnx.NodeProto], name: str) -> set[str]:
    """Names of all values that are `name`, cast or not. Nodes are in topological order, as ONNX demands."""
    same = {name}
    for node in nodes:
        if node.op_type in ("Cast", "Identity") and node.input[0] in same:
            same.add(node.output[0])
    return same


def _lifts_of(nodes: Iterable[onnx.NodeProto], scalars: set[str]) -> list[onnx.NodeProto]:
    readers = [n for n in nodes if scalars & set(n.input) and not scalars & set(n.output)]
    others = sorted({n.op_type for n in readers if n.op_type not in LIFTS})
    if others or not readers:
        raise ScalarTimestep(f"the timestep is read by {', '.join(others) or 'no node'}, not only by an Unsqueeze")
    return readers


def _bypass(graph: onnx.GraphProto, lifts: list[onnx.NodeProto], scalars: set[str]) -> None:
    stands_for = {n.output[0]: next(i for i in n.input if i in scalars) for n in lifts}
    for node in lifts:
        graph.node.remove(node)
    for node in graph.node:
        for index, value in enumerate(node.input):
            node.input[index] = stands_for.get(value, value)


def _batch_axis(graph: onnx.GraphProto, name: str) -> str:
    """What the other inputs call their first axis."""
    shapes = (i.type.tensor_type.shape.dim for i in graph.input if i.name != name)
    return next((dim[0].dim_param for dim in shapes if len(dim) and dim[0].dim_param), "batch_size")
