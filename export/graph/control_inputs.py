"""The inputs of a denoiser's graph for ControlNets and image prompts: make them optional, or remove them.

What they give is added to a hidden state. As an optional input each has a default of zeros, one along every dynamic
axis, which changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import onnx

ADD = "Add"


def make_optional(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Give each of these inputs a default of zeros."""
    for entry in model.graph.input:
        if entry.name in names:
            kind = entry.type.tensor_type
            shape = [axis.dim_value or 1 for axis in kind.shape.dim]
            for axis in kind.shape.dim:
                axis.ClearField("dim_param")  # the default has another length than the axes of that name
            zero = np.zeros(shape, helper.tensor_dtype_to_np_dtype(kind.elem_type))
            model.graph.initializer.append(numpy_helper.from_array(zero, entry.name))


def remove(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Remove these inputs and what is computed from them, up to the additions of its results to hidden states."""
    graph, removed, sums = model.graph, set(names), dict[str, str]()
    kept = []
    for node in graph.node:
        read = [name for name in node.input if name in removed]
        if node.op_type == ADD and len(read) == 1:
            (other,) = (name for name in node.input if name not in removed)
            sums[node.output[0]] = sums.get(other, other)
        elif read:
            removed.update(node.output)
        else:
            node.input[:] = [sums.get(name, name) for name in node.input]
            kept.append(node)
    del graph.node[:]
    graph.node.extend(_needed(kept, [output.name for output in graph.output]))
    for entry in [entry for entry in graph.input if entry.name in names]:
        graph.input.remove(entry)


def _needed(nodes: list[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """Return the nodes that the outputs depend on, in their order."""
    read, needed = set(outputs), []
    for node in reversed(nodes):
        if read.intersection(node.output):
            needed.append(node)
            read.update(node.input)
    return needed[::-1]
