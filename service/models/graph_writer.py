"""Writing small ONNX graphs as bytes, without the package `onnx`.

Field numbers are those of onnx.proto; see `wire_format` for the encoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Axes = Sequence[int | str]

IR_VERSION = 8
FLOAT, FLOAT16, UINT8, INT32, INT64 = "float32", "float16", "uint8", "int32", "int64"
TYPES = {FLOAT: 1, UINT8: 2, "int8": 3, INT32: 6, INT64: 7, "bool": 9, FLOAT16: 10, "float64": 11, "uint32": 12}
"""Numbers of element types, by numpy's names."""

_INT, _INTS = 2, 7  # types of attributes


class GraphWriter:
    """A graph under construction. Methods that add a tensor return its name, which is chosen here but for inputs."""

    def __init__(self, name: str, opset: int = 18) -> None:
        self._name, self._opset = name, opset
        self._nodes: list[tuple[str, tuple[str, ...], str, dict[str, int | Sequence[int]]]] = []
        self._constants: list[bytes] = []
        self._inputs: dict[str, bytes] = {}
        self._outputs: dict[str, bytes] = {}
        self._names: dict[str, str] = {}  # of outputs, by the tensor

    def input(self, name: str, dtype: str, axes: Axes) -> str:
        """Add an input; an axis is a length or a name."""
        self._inputs[name] = value(name, dtype, axes)
        return name

    def constant(self, values: Any, dtype: str = FLOAT) -> str:
        """Add a constant."""
        name = f"constant{len(self._constants)}"
        self._constants.append(tensor(name, np.asarray(values, dtype)))
        return name

    def apply(self, operator: str, *inputs: str, **attributes: int | Sequence[int]) -> str:
        """Add a node with one output; an optional input that is left out is an empty name."""
        name = f"tensor{len(self._nodes)}"
        self._nodes.append((operator, inputs, name, attributes))
        return name

    def output(self, name: str, source: str, dtype: str, axes: Axes) -> None:
        """Make a tensor an output, of another `name`."""
        if source in self._names or not source.startswith("tensor"):
            source = self.apply("Identity", source)
        self._outputs[name], self._names[source] = value(name, dtype, axes), name

    def content(self) -> bytes:
        """Return the graph in an ONNX file's encoding."""
        names = self._names
        nodes = (
            node(operator, [names.get(each, each) for each in inputs], (names.get(output, output),), attributes)
            for operator, inputs, output, attributes in self._nodes
        )
        graph = (
            field(1, *nodes)
            + field(2, self._name)
            + field(5, *self._constants)
            + field(11, *self._inputs.values())
            + field(12, *self._outputs.values())
        )
        return field(1, IR_VERSION) + field(7, graph) + field(8, field(2, self._opset))


def node(
    operator: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Mapping[str, int | Sequence[int]],
) -> bytes:
    """Return a node. An attribute is a number or a list of numbers."""
    own = (_attribute(*each) for each in attributes.items())
    return field(1, *inputs) + field(2, *outputs) + field(4, operator) + field(5, *own)


def value(name: str, dtype: str, axes: Axes) -> bytes:
    """Return the description of an input or an output; an axis is a length or a name."""
    dimensions = (field(2, axis) if isinstance(axis, str) else field(1, axis) for axis in axes)
    shape = b"".join(field(1, each) for each in dimensions)
    return field(1, name) + field(2, field(1, field(1, TYPES[dtype]) + field(2, shape)))


def tensor(name: str, array: np.ndarray[Any, Any]) -> bytes:
    """Return an initializer."""
    return field(1, *array.shape) + field(2, TYPES[array.dtype.name]) + field(8, name) + field(9, array.tobytes())


def field(number: int, *values: str | bytes | int) -> bytes:
    """Return a protobuf field, once per value: a number, a text, or the bytes of a message."""
    encoded = bytearray()
    for each in values:
        content = each.encode() if isinstance(each, str) else each
        encoded += varint(number << 3 | (not isinstance(content, int)) * 2)
        encoded += varint(content) if isinstance(content, int) else varint(len(content)) + content
    return bytes(encoded)


def varint(number: int) -> bytes:
    """Return a number in base 128; a negative one as its two's complement of 64 bits."""
    number &= 2**64 - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _attribute(name: str, content: int | Sequence[int]) -> bytes:
    numbers, kind = ((3, content), _INT) if isinstance(content, int) else ((8, *content), _INTS)
    return field(1, name) + field(*numbers) + field(20, kind)
