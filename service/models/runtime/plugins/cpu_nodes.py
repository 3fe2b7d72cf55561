"""Nodes that run on the CPU because a plugin computes their operator wrongly on this device.

`probe` finds such operators. WebGPU's plugin 0.4.0 computes MultiHeadAttention of more than about 30 tokens wrongly
where subgroups have 4, 8 or 16 lanes, as on llvmpipe: results were off by 0.03 to 0.9 of the largest value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...wire_format import BYTES, FieldBudget, fields, map_file
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
NAME, OPERATOR = 3, 4  # fields of a node


def cpu_nodes(name: str, model: Path | bytes) -> dict[str, str]:
    """Return the plugin's option that keeps the nodes of a graph on the CPU which it computes wrongly.

    Raises the errors of `node_names`.
    """
    wrong = run_probe(name).wrong
    names = node_names(model, wrong) if wrong else []
    return {installed()[name].cpu_nodes: "\n".join(names)} if names else {}


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
