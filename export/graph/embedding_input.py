"""The input of text encoders for further embeddings (textual inversion).

An id from `FIRST_ID` on is a row of the input `embeddings` [rows, dim], float32, which need not be fed: by default it
is one row of zeros. The table itself is gathered from as before, and never copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tintype.service.models.text.embeddings import FIRST_ID, INPUT

from ..errors import Unfaithful

if TYPE_CHECKING:
    import onnx


def add(model: onnx.ModelProto, table: str) -> None:
    """Give a traced graph an input for embeddings beyond its table.

    The weights of `model` are its inputs; `table` is the one of the embeddings.
    """
    graph = model.graph
    places = [place for place, node in enumerate(graph.node) if node.op_type == "Gather" and node.input[0] == table]
    if len(places) != 1:
        raise Unfaithful(f"the graph reads {table} {len(places)} times, not once: embeddings have no place in it")
    (kind,) = (entry.type.tensor_type for entry in graph.input if entry.name == table)
    width = kind.shape.dim[1].dim_value
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ("embeddings_rows", width)))
    graph.initializer.append(numpy_helper.from_array(np.zeros((1, width), np.float32), INPUT))
    gather = graph.node[places[0]]
    nodes = _nodes(gather.input[1], gather.output[0], table, kind.elem_type)
    kept = [*graph.node[: places[0]], *nodes, *graph.node[places[0] + 1 :]]
    del graph.node[:]
    graph.node.extend(kept)


def _nodes(ids: str, out: str, table: str, kind: int) -> list[onnx.NodeProto]:
    """Return nodes that read each id from the table or the input."""
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
