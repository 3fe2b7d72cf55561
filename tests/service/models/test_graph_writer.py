"""Graphs written as bytes are read by onnxruntime, and their encoding by `wire_format`."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from tintype.service.models.graph_writer import FLOAT, FLOAT16, INT64, TYPES, GraphWriter, field, varint
from tintype.service.models.wire_format import fields
from tintype.service.models.wire_format import varint as read_varint


def test_a_graph_computes() -> None:
    """Inputs with free axes, constants, attributes with negative numbers, a tensor and an input as outputs."""
    g = GraphWriter("test")
    x = g.input("x", FLOAT, ("rows", 3))
    turned = g.apply("Gather", x, g.constant([2, 1, 0], INT64), axis=-1)
    doubled = g.apply("Add", turned, turned)
    g.output("half", g.apply("Cast", doubled, to=TYPES[FLOAT16]), FLOAT16, ("rows", 3))
    g.output("clipped", g.apply("Clip", doubled, "", g.constant(4.0)), FLOAT, ("rows", 3))
    for name, source in (("same", x), ("doubled", doubled), ("again", doubled)):
        g.output(name, source, FLOAT, ("rows", 3))
    session = onnxruntime.InferenceSession(g.content(), providers=["CPUExecutionProvider"])
    assert [(each.name, each.shape) for each in session.get_inputs()] == [("x", ["rows", 3])]
    fed = np.array([[1, 2, 3], [-4, 5, -6]], np.float32)
    half, clipped, same, once, again = session.run(None, {"x": fed})
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, 2 * fed[:, ::-1])
    np.testing.assert_array_equal(clipped, np.minimum(2 * fed[:, ::-1], 4))
    np.testing.assert_array_equal(same, fed)
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31, 2**63, -1, -(2**40)])
def test_numbers_are_read_back(number: int) -> None:
    """A negative number is its two's complement of 64 bits."""
    encoded = varint(number)
    assert read_varint(encoded, 0) == (number % 2**64, len(encoded))


def test_fields_are_read_back() -> None:
    """A field is repeated for each value: numbers, texts and messages."""
    encoded = field(1, 5, 6) + field(9, "text", b"bytes")
    found = [(each.number, each.wire_type) for each in fields(encoded, 0, len(encoded))]
    assert found == [(1, 0), (1, 0), (9, 2), (9, 2)]
    assert [encoded[each.start : each.end] for each in fields(encoded, 0, len(encoded))][2:] == [b"text", b"bytes"]
