"""The inputs of a denoiser's graph for the residuals of ControlNets: make them optional, or remove them.

A residual is added to a hidden state. As an optional input it has a default of one zero, which broadcasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper, numpy_helper

from ..errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import onnx


def make_optional(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Give each of these inputs a default of zero."""
    for entry in model.graph.input:
        if entry.name in names:
            kind = entry.type.tensor_type
            zero = np.zeros([1] * len(kind.shape.dim), helper.tensor_dtype_to_np_dtype(kind.elem_type))
            for axis in kind.shape.dim:
                axis.Clear()  # the default has other lengths
            model.graph.initializer.append(numpy_helper.from_array(zero, entry.name))


def remove(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Remove these inputs and the additions that read them.

    Raises VerificationError if another operator reads one.
    """
    graph, sums = model.graph, {}
    for node in graph.node:
        read = [name for name in node.input if name in names]
        if read and node.op_type != "Add":
            raise VerificationError(f"{read[0]} is read by {node.op_type}: this version of diffusers does not add it")
        if read:
            (sums[node.output[0]],) = (name for name in node.input if name not in names)
    kept = [node for node in graph.node if node.output[0] not in sums]
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = _term(sums, name)
    del graph.node[:]
    graph.node.extend(kept)
    for entry in [entry for entry in graph.input if entry.name in names]:
        graph.input.remove(entry)


def _term(sums: Mapping[str, str], name: str) -> str:
    """Return the hidden state of a sum that is removed."""
    while name in sums:
        name = sums[name]
    return name
