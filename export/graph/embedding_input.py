"""Add an optional input for textual inversion embeddings to a text encoder's graph.

Token ids from `FIRST_ID` on are rows of the input `embeddings` [rows, dim], float32; its default is one row of zeros.
All other ids read the encoder's own table, which is not copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tintype.service.models.adapters.embeddings import FIRST_ID, INPUT

from ..errors import VerificationError

if TYPE_CHECKING:
    import onnx


def add_input(model: onnx.ModelProto, table: str) -> None:
    """Add the input `embeddings` to a traced graph, whose weights are inputs; `table` is the embedding weight.

    Raises VerificationError if the graph does not read `table` exactly once.
    """
    graph = model.graph
    positions = [
        position for position, node in enumerate(graph.node) if node.op_type == "Gather" and node.input[0] == table
    ]
    if len(positions) != 1:
        raise VerificationError(
            f"the graph reads {table} {len(positions)} times; adding embeddings needs exactly one read"
        )
    (kind,) = (entry.type.tensor_type for entry in graph.input if entry.name == table)
    width = kind.shape.dim[1].dim_value
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ("embeddings_rows", width)))
    graph.initializer.append(numpy_helper.from_array(np.zeros((1, width), np.float32), INPUT))
    gather = graph.node[positions[0]]
    nodes = _nodes(gather.input[1], gather.output[0], table, kind.elem_type)
    kept = [*graph.node[: positions[0]], *nodes, *graph.node[positions[0] + 1 :]]
    del graph.node[:]
    graph.node.extend(kept)


def _nodes(ids: str, out: str, table: str, kind: int) -> list[onnx.NodeProto]:
    """Return nodes that read each id's row from the table or from the input."""
    name = INPUT + ".{}"
    first, zero, last, further, known, own, more, base, extra, cast, choice = (
        name.format(part)
        for part in ("first", "zero", "last", "further", "known", "own", "more", "base", "extra", "cast", "choice")
    )

    def constant(result: str, value: int | list[int]) -> onnx.NodeProto:
        array = numpy_helper.from_array(np.array(value, np.int64))
        return helper.make_node("Constant", [], [result], name=result, value=array)

    def node(op: str, inputs: list[str], result: str, **attributes: int) -> onnx.NodeProto:
        label = name.format("out") if result == out else result
        return helper.make_node(op, inputs, [result], name=label, **attributes)

    return [
        constant(first, FIRST_ID),
        constant(zero, 0),
        constant(last, [-1]),
        node("GreaterOrEqual", [ids, first], further),
        node("Where", [further, zero, ids], known),
        node("Sub", [ids, first], own),
        node("Where", [further, own, zero], more),
        node("Gather", [table, known], base),
        node("Gather", [INPUT, more], extra),
        node("Cast", [extra], cast, to=kind),
        node("Unsqueeze", [further, last], choice),
        node("Where", [choice, cast, base], out),
    ]
