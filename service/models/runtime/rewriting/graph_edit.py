"""Editing an ONNX graph: where values come from, what reads them, and nodes that replace others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from ...templates.onnx_pb2 import AttributeProto, ModelProto, NodeProto, TensorProto

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Rule = Callable[["GraphEdit", NodeProto], "Sequence[NodeProto] | None"]

MICROSOFT = "com.microsoft"
SUBGRAPHS = frozenset({"If", "Loop", "Scan"})  # operators whose graphs read values by name
TYPES: dict[int, type[np.generic]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT64: np.int64,
}
_KINDS = {kind: number for number, kind in TYPES.items()}


class GraphEdit:
    """The graph of a model, which `apply` changes. `opset` is the version of the standard operators."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
        self.operators = Counter(node.op_type for node in model.graph.node)
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._outputs = {output.name for output in model.graph.output}
        self._index()

    @property
    def has_subgraphs(self) -> bool:
        """Whether nodes have graphs of their own, which may read any value."""
        return not SUBGRAPHS.isdisjoint(self.operators)

    def producer(self, name: str, operator: str) -> NodeProto | None:
        """Return the node that computes a value, if it is this operator."""
        node = self._producers.get(name)
        return node if node is not None and node.op_type == operator else None

    def readers(self, name: str) -> list[NodeProto]:
        """Return the nodes that read a value, one for each input; an output of the graph counts as another reader."""
        return self._readers.get(name, []) + ([NodeProto()] if name in self._outputs else [])

    def numbers(self, name: str) -> NDArray[np.generic] | None:
        """Return the numbers of a small constant in the graph; None for any other value."""
        constant = self.producer(name, "Constant")
        tensor = constant.attribute[0].t if constant is not None else self.tensors.get(name)
        if tensor is None or tensor.data_type not in TYPES or not tensor.raw_data:
            return None
        return np.frombuffer(tensor.raw_data, TYPES[tensor.data_type]).reshape(tuple(tensor.dims))

    def apply(self, rule: Rule) -> int:
        """Replace each node by the nodes that a rule returns for it; return how many were replaced.

        The replacing nodes compute the outputs of the replaced one.
        """
        nodes: list[NodeProto] = []
        replaced = 0
        for node in self.model.graph.node:
            new = rule(self, node)
            replaced += new is not None
            nodes.extend([node] if new is None else new)
        if replaced:
            self.set_nodes(nodes)
        return replaced

    def remove_unread(self) -> None:
        """Remove the nodes whose results nothing reads any more."""
        read, kept = set(self._outputs), []
        for node in reversed(self.model.graph.node):
            if not read.isdisjoint(node.output):
                read.update(node.input)
                kept.append(node)
        self.set_nodes(kept[::-1])

    def require_domain(self, domain: str) -> None:
        """Let the model use the operators of a domain."""
        if all(each.domain != domain for each in self.model.opset_import):
            self.model.opset_import.add(domain=domain, version=1)

    def set_nodes(self, nodes: Sequence[NodeProto]) -> None:
        """Replace all nodes."""
        kept = list(nodes)  # they may be the present ones
        del self.model.graph.node[:]
        self.model.graph.node.extend(kept)
        self._index()

    def _index(self) -> None:
        self._producers: dict[str, NodeProto] = {}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in self.model.graph.node:
            for name in node.output:
                self._producers[name] = node
            for name in node.input:
                self._readers.setdefault(name, []).append(node)


class NodeList(list[NodeProto]):
    """New nodes, whose values get names that begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def add(
        self, operator: str, *inputs: str, output: str = "", domain: str = "", **attributes: float | Sequence[int]
    ) -> str:
        """Add a node with one output; return the output's name."""
        output = output or f"{self._prefix}/rewritten/{operator}_{len(self)}"
        node = NodeProto(op_type=operator, name=output, input=inputs, output=[output], domain=domain)
        node.attribute.extend(_attribute(name, value) for name, value in attributes.items())
        self.append(node)
        return output

    def constant(self, numbers: Sequence[int] | float) -> str:
        """Add a constant, int64 from integers and float32 from a float; return its name."""
        array = np.asarray(numbers, np.float32 if isinstance(numbers, float) else np.int64)
        name = self.add("Constant")
        tensor = TensorProto(dims=array.shape, data_type=_KINDS[array.dtype.type], raw_data=array.tobytes())
        self[-1].attribute.append(AttributeProto(name="value", type=AttributeProto.TENSOR, t=tensor))
        return name


def attributes(node: NodeProto) -> dict[str, float | list[int]]:
    """Return a node's attributes that are numbers or lists of integers."""
    values: dict[str, float | list[int]] = {}
    for each in node.attribute:
        if each.type == AttributeProto.FLOAT:
            values[each.name] = each.f
        elif each.type == AttributeProto.INT:
            values[each.name] = each.i
        elif each.type == AttributeProto.INTS:
            values[each.name] = list(each.ints)
    return values


def _attribute(name: str, value: float | Sequence[int]) -> AttributeProto:
    if isinstance(value, int):
        return AttributeProto(name=name, type=AttributeProto.INT, i=value)
    if isinstance(value, float):
        return AttributeProto(name=name, type=AttributeProto.FLOAT, f=value)
    return AttributeProto(name=name, type=AttributeProto.INTS, ints=value)
