"""The facts of a graph are read from its file alone, without onnxruntime and without the values of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.complexity import steps
from tests.support.models.onnx_files import (
    FLOAT,
    INT64,
    attribute,
    external,
    field,
    graph,
    model,
    node,
    tensor,
    value,
    varint,
)
from tintype.service.models import wire_format
from tintype.service.models.files import ModelFileError
from tintype.service.models.folder.graph_facts import GraphFacts, Node, Tensor, read_domains, read_facts
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime.providers import onnxruntime

if TYPE_CHECKING:
    from pathlib import Path

FLOAT16 = 10
TYPES = {"tensor(float)": FLOAT, "tensor(int64)": INT64}


def write(folder: Path, content: bytes) -> Path:
    (folder / "unet").mkdir(exist_ok=True)
    (folder / "unet/model.onnx").write_bytes(content)
    return folder / "unet/model.onnx"


def small(dtype: int = FLOAT) -> bytes:
    """Return a model of one convolution whose weights are outside, behind a cast, and a fused operator."""
    nodes = [
        node("Cast", ["sample"], ["cast"], attribute("to", 3, dtype, 2)),
        node("Conv", ["cast", "w", "b"], ["c"]),
        node("GroupNorm", ["c", "b"], ["out_sample"], domain="com.microsoft"),
    ]
    inputs = [value("sample", FLOAT, ["batch", "channels", 8, 16]), value("b", dtype, [4]), value("time", FLOAT, [])]
    weights = [external("w", [4, 9, 3, 3], "weights.pb", kind=dtype), tensor("b", dtype, [4], bytes(16))]
    outputs = [value("out_sample", FLOAT, ["batch", 4, 8, 16])]
    return model(graph("main", nodes, inputs, outputs, weights), domains=["", "com.microsoft"])


def nodes_of(facts: GraphFacts) -> dict[str, Node]:
    """Return nodes by operator."""
    return {each.operator: each for each in facts.nodes}


@pytest.mark.parametrize("path", sorted(BUILTIN.glob("*/model.onnx")), ids=lambda path: path.parent.name)
def test_ports_are_those_of_onnxruntime(path: Path) -> None:
    """Names, types and fixed axes of inputs, and the names of outputs, are what onnxruntime reads."""
    session = onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    facts = read_facts(path)
    assert {
        port.name: (TYPES[port.type], tuple(n if isinstance(n, int) else None for n in port.shape))
        for port in session.get_inputs()
    } == {name: (dtype, shape) for name, (dtype, shape) in facts.inputs.items()}
    assert list(facts.outputs) == [port.name for port in session.get_outputs()]
    assert facts.opsets[""] >= 14


def test_nodes_and_weights(tmp_path: Path) -> None:
    """Nodes have operator, domain and names; weights have type and shape; an input with a default is a weight."""
    facts = read_facts(write(tmp_path, small()))
    assert facts.nodes[1:] == (
        Node("Conv", "", ("cast", "w", "b"), ("c",)),
        Node("GroupNorm", "com.microsoft", ("c", "b"), ("out_sample",)),
    )
    assert facts.weights == {"w": Tensor(FLOAT, (4, 9, 3, 3)), "b": Tensor(FLOAT, (4,))}
    assert facts.inputs == {"sample": Tensor(FLOAT, (None, None, 8, 16)), "time": Tensor(FLOAT, ())}
    assert facts.opsets == {"": 17, "com.microsoft": 1}
    assert ("com.microsoft", "GroupNorm") in facts.operators
    assert read_domains(tmp_path / "unet/model.onnx") == {"", "com.microsoft"}


def test_widths_and_layers(tmp_path: Path) -> None:
    """A fixed axis has a length; the first layer behind an input is found through a cast."""
    facts = read_facts(write(tmp_path, small()))
    assert [facts.width("sample", axis) for axis in range(5)] == [None, None, 8, 16, None]
    assert facts.width("sample") == 16
    assert facts.width("time") is facts.width("absent") is None
    assert [(found.operator, weight.shape) for found, weight in facts.layers("sample")] == [("Conv", (4, 9, 3, 3))]
    assert facts.count("Conv", "GroupNorm") == 2


@pytest.mark.parametrize(("dtype", "half"), [(FLOAT, False), (FLOAT16, True)])
def test_the_precision_of_weights(tmp_path: Path, *, dtype: int, half: bool) -> None:
    """The type of most weights tells whether the graph is in half precision."""
    assert read_facts(write(tmp_path, small(dtype))).half is half


def test_packed_shapes_are_read(tmp_path: Path) -> None:
    """A writer may pack the numbers of a shape into one field."""
    shape = b"".join(varint(number) for number in (300, 4))
    weight = field(1, shape) + field(2, FLOAT) + field(8, "w") + field(9, bytes(4800))
    facts = read_facts(write(tmp_path, model(graph("main", [node("MatMul", ["x", "w"], ["y"])], (), (), [weight]))))
    assert facts.weights["w"] == Tensor(FLOAT, (300, 4))


def test_functions_give_their_nodes(tmp_path: Path) -> None:
    """An operator inside of a local function is found."""
    function = field(1, "F") + field(7, node("NhwcConv", ["a", "w"], ["b"], domain="com.microsoft")) + field(10, "own")
    content = model(graph("main", [node("F", ["x"], ["y"], domain="own")]), [function], ["", "own"])
    assert ("com.microsoft", "NhwcConv") in read_facts(write(tmp_path, content)).operators


@pytest.mark.parametrize("content", [b"\x3c?xml", b"\x3a\xff\xff\x03short", b"\xff" * 30, b"\x3a", b"\x08"])
def test_a_file_that_is_not_a_graph_is_rejected(tmp_path: Path, content: bytes) -> None:
    """The error is one line and names the file."""
    with pytest.raises(ModelFileError, match=r"^unet/model\.onnx cannot be read: it is not an ONNX graph, or was cut"):
        read_facts(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A missing file is an error of the folder."""
    with pytest.raises(ModelFileError, match=r"unet/model\.onnx cannot be read: No such file"):
        read_facts(tmp_path / "unet/model.onnx")


def test_work_is_linear_and_independent_of_weights(tmp_path: Path) -> None:
    """Work grows in proportion to the number of nodes, and does not grow with the bytes of weights."""

    def work(count: int, size: int) -> int:
        weights = [tensor(f"w{i}", FLOAT, [size // 4], np.zeros(size // 4, np.float32).tobytes()) for i in range(10)]
        path = write(tmp_path, model(graph("main", [node("Add", ["x", "w0"], ["y"])] * count, (), (), weights)))
        return steps(lambda: read_facts(path))

    assert 1.5 < work(400, 64) / work(200, 64) < 2.5
    assert work(200, 1 << 20) < 1.1 * work(200, 64)


def test_a_weight_is_found_behind_a_cast(tmp_path: Path) -> None:
    """Weights that are stored in half precision reach their layer through a cast."""
    nodes = [node("Cast", ["half"], ["w"]), node("Conv", ["x", "w"], ["c"]), node("Clip", ["c"], ["y"])]
    weights = [external("half", [4, 9, 3, 3], "weights.pb", kind=FLOAT16)]
    content = model(graph("main", nodes, [value("x", FLOAT, [1])], [value("y", FLOAT, [1])], weights))
    facts = read_facts(write(tmp_path, content))
    expected = (nodes_of(facts)["Conv"], Tensor(FLOAT16, (4, 9, 3, 3)))
    assert list(facts.layers("x")) == [expected]
    assert facts.last_layer("y") == expected
    assert facts.last_layer("x") is facts.last_layer("absent") is None


def test_following_an_input_ends(tmp_path: Path) -> None:
    """A circle of nodes, which no runtime accepts, does not keep the reader busy."""
    nodes = [node("Cast", ["x"], ["y"]), node("Cast", ["y"], ["x"])]
    facts = read_facts(write(tmp_path, model(graph("main", nodes, [value("x", FLOAT, [1])]))))
    assert list(facts.layers("x")) == []
    assert facts.last_layer("x") is None


def test_the_number_of_fields_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file keeps the reader busy for minutes."""
    monkeypatch.setattr(wire_format, "MAX_FIELDS", 100)
    with pytest.raises(ModelFileError, match="more than 100 fields"):
        read_facts(write(tmp_path, model(graph("main", [node("Add", ["x", "x"], ["x"])] * 50))))
