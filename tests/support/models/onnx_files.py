"""Writes ONNX files in protobuf's wire format, so that tests of serving do not need the package `onnx`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

FLOAT, INT64, BOOL = 1, 7, 9
EXTERNAL = 1
GRAPH, TENSOR, SPARSE = 5, 4, 11  # types of attributes


def varint(number: int) -> bytes:
    """Encode a number as a protobuf varint."""
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*parts, number))


def field(number: int, *values: str | bytes | int) -> bytes:
    """Encode a field for each value: a string, the bytes of a message, or a number."""
    made = b""
    for value in values:
        if isinstance(value, int):
            made += varint(number << 3) + varint(value)
            continue
        content = value.encode() if isinstance(value, str) else value
        made += varint(number << 3 | 2) + varint(len(content)) + content
    return made


def tensor(name: str, kind: int, shape: Iterable[int], raw: bytes) -> bytes:
    """Return a TensorProto with raw values."""
    return field(1, *shape) + field(2, kind) + field(8, name) + field(9, raw)


def external(name: str, shape: Iterable[int], location: str, *, kind: int = FLOAT, size: int = 16) -> bytes:
    """Return a TensorProto whose values are in another file."""
    entries = {"location": location, "offset": "0", "length": str(size)}
    named = field(13, *(field(1, key) + field(2, value) for key, value in entries.items()))
    return field(1, *shape) + field(2, kind) + field(8, name) + named + field(14, EXTERNAL)


def attribute(name: str, number: int, value: bytes | int, kind: int) -> bytes:
    """Return an AttributeProto with its value in field `number`."""
    return field(1, name) + field(number, value) + field(20, kind)


def node(operator: str, inputs: Iterable[str], outputs: Iterable[str], *attributes: bytes, domain: str = "") -> bytes:
    """Return a NodeProto."""
    return field(1, *inputs) + field(2, *outputs) + field(4, operator) + field(5, *attributes) + field(7, domain)


def value(name: str, kind: int, shape: Iterable[int | str]) -> bytes:
    """Return a ValueInfoProto of a tensor; an axis given as a string is dynamic."""
    axes = field(1, *(field(1, axis) if isinstance(axis, int) else field(2, axis) for axis in shape))
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, axes)))


def graph(
    name: str,
    nodes: Iterable[bytes],
    inputs: Iterable[bytes] = (),
    outputs: Iterable[bytes] = (),
    initializers: Iterable[bytes] = (),
    sparse: Iterable[bytes] = (),
) -> bytes:
    return (
        field(1, *nodes)
        + field(2, name)
        + field(5, *initializers)
        + field(15, *sparse)
        + field(11, *inputs)
        + field(12, *outputs)
    )


def model(content: bytes, functions: Iterable[bytes] = (), domains: Iterable[str] = ("",)) -> bytes:
    """Return a ModelProto of opset 17."""
    opsets = field(8, *(field(1, domain) + field(2, 17 if not domain else 1) for domain in domains))
    return field(1, 8) + field(7, content) + opsets + field(25, *functions)
