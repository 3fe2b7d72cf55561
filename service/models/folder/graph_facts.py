"""The facts of an ONNX graph that a folder without configurations is read by: ports, nodes and shapes of weights.

The file is read by protobuf's wire format in one bounded pass, without onnxruntime and without the package `onnx`. The
values of weights are skipped, inline or not. Subgraphs are not read; local functions give their nodes.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from ..files import ModelFileError, label
from ..wire_format import BYTES, VARINT, FieldBudget, fields, map_file, varint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from mmap import mmap
    from pathlib import Path

MICROSOFT = "com.microsoft"
FLOAT, FLOAT16 = 1, 10  # TensorProto.DataType

# The numbers of fields in onnx.proto.
GRAPH, OPSET, FUNCTION = 7, 8, 25
OPSET_DOMAIN, OPSET_VERSION = 1, 2
NODE, INITIALIZER, INPUT, OUTPUT = 1, 5, 11, 12
FUNCTION_NODE = 7
NODE_INPUT, NODE_OUTPUT, NODE_OPERATOR, NODE_DOMAIN = 1, 2, 4, 7
VALUE_NAME, VALUE_TYPE, TENSOR_TYPE, TYPE_ELEMENT, TYPE_SHAPE, SHAPE_AXIS, AXIS_LENGTH = 1, 2, 1, 1, 2, 1, 1
WEIGHT_SHAPE, WEIGHT_TYPE, WEIGHT_NAME = 1, 2, 8

# Operators between an input and its first layer, or between the last layer and an output.
TRANSPARENT = {
    *("Cast", "Identity", "Transpose", "Reshape", "Unsqueeze", "Squeeze"),
    *("Div", "Mul", "Sub", "Add", "Clip", "Tanh"),
}
STORED_AS = {"Cast", "Identity", "DequantizeLinear"}  # between a weight and the layer that reads it


class Node(NamedTuple):
    """A node: its operator, the operator's domain, and the names of its inputs and outputs; an absent one is empty."""

    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Tensor(NamedTuple):
    """Data type, as in TensorProto, and shape of a port or a weight; a free axis is None."""

    dtype: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class GraphFacts:
    """What a graph takes and gives, its nodes, and its weights without their values.

    `inputs` have no default; `weights` are the initializers. `opsets` maps domains to versions; "" is ONNX's own.
    """

    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    weights: Mapping[str, Tensor]
    opsets: Mapping[str, int]

    @cached_property
    def operators(self) -> frozenset[tuple[str, str]]:
        """Domain and name of each operator."""
        return frozenset((node.domain, node.operator) for node in self.nodes)

    @property
    def half(self) -> bool:
        """Whether more weights are float16 than float32; those of one number are not counted."""
        types = [dtype for dtype, shape in self.weights.values() if shape]
        return types.count(FLOAT16) > types.count(FLOAT)

    def count(self, *operators: str) -> int:
        """Return the number of nodes with one of these operators."""
        return sum(node.operator in operators for node in self.nodes)

    def width(self, name: str, axis: int = -1) -> int | None:
        """Return the fixed length of an axis of an input; None if the axis is free, or the input does not exist."""
        shape = self.inputs[name].shape if name in self.inputs else ()
        return shape[axis] if -len(shape) <= axis < len(shape) else None

    def layers(self, name: str) -> Iterator[tuple[Node, Tensor]]:
        """Yield the first nodes after an input that read a weight of two axes or more, each with that weight."""
        waiting, seen = [name], {name}
        while waiting:
            for node in self._readers.get(waiting.pop(), ()):
                if node.operator in TRANSPARENT:
                    waiting += [each for each in node.outputs if each not in seen]
                    seen.update(node.outputs)
                elif weight := self._weight_of(node):
                    yield node, weight

    def last_layer(self, name: str) -> tuple[Node, Tensor] | None:
        """Return the last node before an output that reads a weight of two axes or more, and that weight."""
        for _ in self.nodes:
            node = self._makers.get(name)
            if node is None or node.operator not in TRANSPARENT:
                break
            name = next((each for each in node.inputs if each in self._makers), "")
        else:
            node = None
        weight = self._weight_of(node) if node else None
        return (node, weight) if node and weight else None

    def _weight_of(self, node: Node) -> Tensor | None:
        """Return the first weight of two axes or more that a node reads."""
        weights = (self._stored[each] for each in node.inputs if each in self._stored)
        return next((weight for weight in weights if len(weight.shape) > 1), None)

    @cached_property
    def _stored(self) -> Mapping[str, Tensor]:
        """The weights, also by the names that they have after a cast."""
        stored = dict(self.weights)
        for node in self.nodes:
            if node.operator in STORED_AS and node.inputs[0] in stored:
                stored.update(dict.fromkeys(node.outputs, stored[node.inputs[0]]))
        return stored

    @cached_property
    def _makers(self) -> Mapping[str, Node]:
        """The node that makes each value."""
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def _readers(self) -> Mapping[str, list[Node]]:
        """The nodes that read each value."""
        readers: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return readers


def read_facts(path: Path) -> GraphFacts:
    """Return the facts of the graph at `path`, in time proportional to its fields.

    Raises:
        ModelFileError: the file is missing, or is not an ONNX graph.
    """
    with _named(path):
        return _Reader(map_file(path)).facts()


def read_domains(path: Path) -> frozenset[str]:
    """Return the domains of operators that the graph at `path` imports, without reading its nodes.

    Raises:
        ModelFileError: the file is missing, or is not an ONNX graph.
    """
    with _named(path):
        return frozenset(_Reader(map_file(path)).opsets())


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise errors of the block as ModelFileError that names the file."""
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{label(path)} cannot be read: {error.strerror or error}") from error
    except ModelFileError as error:
        raise ModelFileError(f"{label(path)} cannot be read: {error}") from error


class _Reader:
    """Reads the messages of one file; each method takes the place of its message."""

    def __init__(self, data: mmap | bytes) -> None:
        self._data, self._budget = data, FieldBudget()

    def facts(self) -> GraphFacts:
        inputs: dict[str, Tensor] = {}
        outputs: list[str] = []
        nodes: list[Node] = []
        weights: dict[str, Tensor] = {}
        for number, start, end in self._messages(0, len(self._data)):
            if number == FUNCTION:
                nodes += [self._node(*at) for field, *at in self._messages(start, end) if field == FUNCTION_NODE]
            if number != GRAPH:
                continue
            for field, *at in self._messages(start, end):
                if field == NODE:
                    nodes.append(self._node(*at))
                elif field == INITIALIZER:
                    weights.update([self._weight(*at)])
                elif field == INPUT:
                    inputs.update([self._value(*at)])
                elif field == OUTPUT:
                    outputs.append(self._value(*at)[0])
        taken = {name: value for name, value in inputs.items() if name not in weights}
        return GraphFacts(taken, tuple(outputs), tuple(nodes), weights, self.opsets())

    def opsets(self) -> dict[str, int]:
        versions = {}
        for number, start, end in self._messages(0, len(self._data)):
            if number == OPSET:
                domain = next(
                    (self._text(*at) for field, *at in self._messages(start, end) if field == OPSET_DOMAIN), ""
                )
                versions[domain] = next(iter(self._numbers(start, end, OPSET_VERSION)), 0)
        return versions

    def _node(self, start: int, end: int) -> Node:
        texts: dict[int, list[str]] = {NODE_OPERATOR: [""], NODE_DOMAIN: [""], NODE_INPUT: [], NODE_OUTPUT: []}
        for number, *at in self._messages(start, end):
            if number in texts:
                texts[number].append(self._text(*at))
        operators, domains, inputs, outputs = texts.values()
        return Node(operators[-1], domains[-1], tuple(inputs), tuple(outputs))

    def _weight(self, start: int, end: int) -> tuple[str, Tensor]:
        name = next((self._text(*at) for number, *at in self._messages(start, end) if number == WEIGHT_NAME), "")
        dtype = next(iter(self._numbers(start, end, WEIGHT_TYPE)), 0)
        return name, Tensor(dtype, tuple(self._numbers(start, end, WEIGHT_SHAPE)))

    def _value(self, start: int, end: int) -> tuple[str, Tensor]:
        name, tensor = "", Tensor(0, ())
        for number, *at in self._messages(start, end):
            if number == VALUE_NAME:
                name = self._text(*at)
            elif number == VALUE_TYPE:
                types = (place for field, *place in self._messages(*at) if field == TENSOR_TYPE)
                tensor = next((self._type(*place) for place in types), tensor)
        return name, tensor

    def _type(self, start: int, end: int) -> Tensor:
        axes: list[int | None] = []
        for number, *at in self._messages(start, end):
            if number == TYPE_SHAPE:
                places = [(first, last) for field, first, last in self._messages(*at) if field == SHAPE_AXIS]
                axes = [next(iter(self._numbers(first, last, AXIS_LENGTH)), None) for first, last in places]
        return Tensor(next(iter(self._numbers(start, end, TYPE_ELEMENT)), 0), tuple(axes))

    def _messages(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield number, start and end of the fields that are texts, bytes or messages."""
        for number, wire_type, first, last in fields(self._data, start, end):
            self._budget.spend()
            if wire_type == BYTES:
                yield number, first, last

    def _numbers(self, start: int, end: int, wanted: int) -> Iterator[int]:
        """Yield the numbers of one repeated field, packed or not."""
        for number, wire_type, place, last in fields(self._data, start, end):
            next_place = place if number == wanted and wire_type in (VARINT, BYTES) else last
            while next_place < last:
                value, next_place = varint(self._data, next_place)
                self._budget.spend()
                yield value

    def _text(self, start: int, end: int) -> str:
        return bytes(self._data[start:end]).decode("utf-8", "replace")
