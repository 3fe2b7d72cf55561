"""Nodes that run on the CPU because a plugin computes their operator wrongly on this device.

`probe` finds such operators. WebGPU's plugin 0.4.0 computes MultiHeadAttention of more than about 30 tokens wrongly
where subgroups have 4, 8 or 16 lanes, as on llvmpipe: results were off by 0.03 to 0.9 of the largest value. It also
computes a convolution of 9 channels wrongly, the first one of UNets for inpainting: off by the largest value in float32
and float16, while 3, 4, 5, 8, 12, 13 and 16 channels are right. That one always runs on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...wire_format import BYTES, FieldBudget, fields, map_file, varint
from ..providers import run_probe
from .table import installed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from mmap import mmap
    from pathlib import Path

# The messages of onnx.proto that contain nodes: the numbers of the fields to follow, and the message in each.
MESSAGES = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {6: "graph", 11: "graph"},
}
INPUT, NAME, OPERATOR = 1, 3, 4  # fields of a node
GRAPH = 7  # a field of a model
NODE, TENSOR = 1, 5  # fields of a graph
SHAPE, TENSOR_NAME = 1, 8  # fields of a tensor
WRONG_CHANNELS = 9


def cpu_nodes(name: str, model: Path | bytes) -> dict[str, str]:
    """Return the plugin's option that keeps the nodes of a graph on the CPU which it computes wrongly.

    Raises the errors of `node_names`.
    """
    plugin = installed().get(name)
    if not plugin or not plugin.cpu_nodes:
        return {}
    wrong = run_probe(name).wrong
    names = [*(node_names(model, wrong) if wrong else []), *wrong_convolutions(model)]
    return {plugin.cpu_nodes: "\n".join(names)} if names else {}


def node_names(model: Path | bytes, operators: Collection[str]) -> list[str]:
    """Return the names of a graph's nodes with one of these operators, those of subgraphs included.

    Raises:
        RuntimeError: such a node has no name.
        ModelFileError: the file is not an ONNX graph.
    """
    data = model if isinstance(model, bytes) else map_file(model)
    found = [name for operator, name in _nodes(data) if operator in operators]
    if not all(found):
        raise RuntimeError(f"a node with the operator {' or '.join(operators)} must have a name to run on the CPU")
    return found


def wrong_convolutions(model: Path | bytes) -> list[str]:
    """Return the names of a graph's convolutions of WRONG_CHANNELS. Raises as `node_names`."""
    data = model if isinstance(model, bytes) else map_file(model)
    budget, weights, convolutions = FieldBudget(), dict[bytes, list[int]](), list[tuple[str, bytes]]()
    graphs = [each for each in fields(data, 0, len(data)) if each.number == GRAPH]
    for entry in (entry for graph in graphs for entry in fields(data, graph.start, graph.end)):
        budget.spend()
        if entry.number == TENSOR:
            name, shape = _tensor(data, entry.start, entry.end, budget)
            weights[name] = shape
        elif entry.number == NODE:
            own: dict[int, list[bytes]] = {}
            for each in fields(data, entry.start, entry.end):
                budget.spend()
                if each.number in (INPUT, NAME, OPERATOR):
                    own.setdefault(each.number, []).append(data[each.start : each.end])
            if own.get(OPERATOR) == [b"Conv"]:
                convolutions.append((b"".join(own.get(NAME, [])).decode("utf-8", "replace"), own[INPUT][1]))
    found = [name for name, weight in convolutions if weights.get(weight, [])[1:2] == [WRONG_CHANNELS]]
    if not all(found):
        raise RuntimeError(f"a convolution of {WRONG_CHANNELS} channels must have a name to run on the CPU")
    return found


def _tensor(data: mmap | bytes, start: int, end: int, budget: FieldBudget) -> tuple[bytes, list[int]]:
    """Return the name and the shape of a tensor, whose sizes are packed or not."""
    name, shape = b"", list[int]()
    for each in fields(data, start, end):
        budget.spend()
        if each.number == SHAPE and each.wire_type == BYTES:
            at = each.start
            while at < each.end:
                size, at = varint(data, at)
                shape.append(size)
        elif each.number == SHAPE:
            shape.append(varint(data, each.start)[0])
        elif each.number == TENSOR_NAME:
            name = data[each.start : each.end]
    return name, shape


def _nodes(data: mmap | bytes) -> Iterator[tuple[str, str]]:
    """Yield each node's operator and name."""
    messages, budget = [("model", 0, len(data))], FieldBudget()
    while messages:
        message, start, end = messages.pop()
        texts = {NAME: "", OPERATOR: ""}
        for number, wire_type, first, last in fields(data, start, end):
            budget.spend()
            if wire_type != BYTES:
                continue
            if number in MESSAGES[message]:
                messages.append((MESSAGES[message][number], first, last))
            elif message == "node" and number in texts:
                texts[number] = data[first:last].decode("utf-8", "replace")
        if message == "node":
            yield texts[OPERATOR], texts[NAME]
