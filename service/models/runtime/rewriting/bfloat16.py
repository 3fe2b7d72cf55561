"""Casts at the ends of graphs that take or return bfloat16, which numpy lacks: arrays stay float32.

Only the ends change; what computes in bfloat16 goes on doing so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...templates.onnx_pb2 import TensorProto
from ...wire_format import BYTES, VARINT, fields, varint
from .graph_edit import NodeList

if TYPE_CHECKING:
    from collections.abc import Iterable
    from mmap import mmap

    from ...templates.onnx_pb2 import ValueInfoProto
    from .graph_edit import GraphEdit

BFLOAT16 = 16  # the number of the type in TensorProto.DataType
GRAPH, ENDS = (7,), (11, 12)  # fields of ModelProto and of GraphProto: inputs and outputs
TYPE, TENSOR, ELEMENT = (2,), (1,), 1  # fields of ValueInfoProto, of TypeProto, and of TypeProto.Tensor


def has_bfloat16_ends(data: mmap | bytes) -> bool:
    """Return whether an input or an output of an ONNX file is bfloat16. Raises ModelFileError for a damaged file.

    The graph is not parsed: its nodes and weights are skipped.
    """
    parts: Iterable[tuple[int, int]] = [(0, len(data))]
    for numbers in (GRAPH, ENDS, TYPE, TENSOR):
        parts = [
            (first, last)
            for start, end in parts
            for number, wire_type, first, last in fields(data, start, end)
            if number in numbers and wire_type == BYTES
        ]
    return any(
        number == ELEMENT and wire_type == VARINT and varint(data, first)[0] == BFLOAT16
        for start, end in parts
        for number, wire_type, first, _ in fields(data, start, end)
    )


def cast_ends(edit: GraphEdit) -> int:
    """Let the graph take and return float32 in place of bfloat16; return the number of ends."""
    graph = edit.model.graph
    before, after = NodeList("bfloat16"), NodeList("bfloat16/out")
    inputs = {end.name for end in graph.input if _narrow(end)} - edit.tensors.keys()
    outputs = {end.name for end in graph.output if _narrow(end)}
    casts = {name: before.add("Cast", name, to=BFLOAT16, output=f"{name}/bfloat16") for name in sorted(inputs)}
    for name in sorted(outputs):
        after.add("Cast", f"{name}/bfloat16/out", to=TensorProto.FLOAT, output=name)
    renamed = {name: f"{name}/bfloat16/out" for name in outputs}
    for node in graph.node:
        node.input[:] = [renamed.get(name, casts.get(name, name)) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for end in (*graph.input, *graph.output):
        if end.name in inputs or end.name in outputs:
            end.type.tensor_type.elem_type = TensorProto.FLOAT
    edit.set_nodes([*before, *graph.node, *after])
    return len(inputs) + len(outputs)


def _narrow(end: ValueInfoProto) -> bool:
    return bool(end.type.tensor_type.elem_type == BFLOAT16)
