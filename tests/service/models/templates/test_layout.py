"""How a graph reads its weights is recognised, and changed without changing the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from tests.support.models.small_template import node
from tintype.service.models.templates.layout import Layout, WeightUses, layout_for
from tintype.service.models.templates.onnx_pb2 import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)


def graph(nodes: Sequence[NodeProto], outputs: Sequence[str] = ("y",)) -> ModelProto:
    """Return a graph of `nodes` with the input x [n, 4] and the weight w [4, 4]."""
    model = ModelProto(ir_version=9, graph=GraphProto(name="g", node=nodes))
    model.opset_import.add(version=18)
    for ports, names in ((model.graph.input, ("x",)), (model.graph.output, outputs)):
        for name in names:
            kind = ports.add(name=name).type.tensor_type
            kind.elem_type = TensorProto.FLOAT
            for axis in ("n", "m"):
                kind.shape.dim.add(dim_param=axis)
    set_weight(model, W)
    model.graph.initializer.add(name="b", dims=[4], data_type=TensorProto.FLOAT, raw_data=W[0].tobytes())
    return model


def set_weight(model: ModelProto, numbers: NDArray[np.float32]) -> None:
    """Give the weight other numbers."""
    for tensor in list(model.graph.initializer):
        if tensor.name == "w":
            model.graph.initializer.remove(tensor)
    model.graph.initializer.add(name="w", dims=numbers.shape, data_type=TensorProto.FLOAT, raw_data=numbers.tobytes())


def answer(model: ModelProto) -> NDArray[np.float32]:
    """Return the first output for X."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(None, {"x": X})[0]
    return result


TURN = node("Transpose", "w", "t", perm=[1, 0])
TWICE = [TURN, node("MatMul", "x t", "h"), node("MatMul", "h t", "y")]
PRODUCTS = {
    "through one Transpose": TWICE,
    "through two": [*TWICE[:2], node("Transpose", "w", "u", perm=[1, 0]), node("MatMul", "h u", "y")],
}


@pytest.mark.parametrize("nodes", PRODUCTS.values(), ids=PRODUCTS.keys())
@pytest.mark.parametrize("layout", [Layout.FUSED, Layout.TURNED])
def test_products_read_the_stored_matrix(nodes: list[NodeProto], layout: Layout) -> None:
    """A weight may have several products; no Transpose is left."""
    model = graph(nodes)
    wanted = answer(model)
    uses = WeightUses(model, ["w"])
    assert uses.operators("w") == {"MatMul"}
    assert uses.is_transposed("w")
    assert uses.can_fuse("w")
    if layout is Layout.FUSED:
        uses.fuse("w")
    else:
        uses.turn("w")
        set_weight(model, np.ascontiguousarray(W.T))
    uses.finish()
    assert {n.op_type for n in model.graph.node} == {"FusedMatMul" if layout is Layout.FUSED else "MatMul"}
    np.testing.assert_allclose(answer(model), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        [TURN, node("MatMul", "t t", "h"), node("MatMul", "x h", "y")],
        [TURN, node("MatMul", "x t", "h"), node("Add", "t b", "u"), node("MatMul", "h u", "y")],
    ],
)
def test_other_readers_of_a_transpose_can_be_turned(nodes: list[NodeProto]) -> None:
    """FusedMatMul has its matrix on the right; any reader can read a stored transpose."""
    model = graph(nodes)
    wanted = answer(model)
    uses = WeightUses(model, ["w"])
    assert uses.is_transposed("w")
    assert not uses.can_fuse("w")
    assert "other" in uses.operators("w")
    uses.turn("w")
    uses.finish()
    set_weight(model, np.ascontiguousarray(W.T))
    np.testing.assert_allclose(answer(model), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([TURN, node("MatMul", "x t", "h"), node("MatMul", "h w", "y")], ("y",)),
        ([TURN, node("MatMul", "x t", "y")], ("y", "t")),
        ([node("Transpose", "w", "t", perm=[0, 1]), node("MatMul", "x t", "y")], ("y",)),
        ([node("Transpose", "w", "t"), node("MatMul", "x t", "y")], ("y",)),
    ],
)
def test_a_weight_with_other_readers_stays(nodes: list[NodeProto], outputs: tuple[str, ...]) -> None:
    """A weight that is read directly as well, or whose transpose is a result, is stored once, as it is."""
    uses = WeightUses(graph(nodes, outputs), ["w"])
    assert not uses.is_transposed("w")
    assert not uses.can_fuse("w")
    assert "other" in uses.operators("w")


def gemm(**attributes: float) -> NodeProto:
    """Return Gemm of x, w and b."""
    made = node("Gemm", "x w b", "y")
    for name, value in attributes.items():
        if isinstance(value, int):
            made.attribute.add(name=name, i=value, type=AttributeProto.INT)
        else:
            made.attribute.add(name=name, f=value, type=AttributeProto.FLOAT)
    return made


@pytest.mark.parametrize(
    ("made", "operator"),
    [
        (gemm(transB=1), "Gemm"),
        (gemm(transB=1, transA=0, alpha=1.0, beta=1.0), "Gemm"),
        (gemm(), "other"),
        (gemm(transB=1, alpha=0.5), "other"),
        (gemm(transB=1, beta=0.0), "other"),
        (gemm(transB=1, transA=1), "other"),
        (node("Gemm", "w x b", "y", transB=1), "other"),
    ],
)
def test_only_a_linear_layer_is_one(made: NodeProto, operator: str) -> None:
    """Gemm is a linear layer if it multiplies by the transpose and adds the bias, and does nothing more."""
    assert WeightUses(graph([made]), ["w"]).operators("w") == {operator}


@pytest.mark.parametrize(
    "nodes", [[TURN, node("MatMul", "x t", "y")], [gemm(transB=1)], [node("Gemm", "x w", "y", transB=1)]]
)
def test_blocks_replace_a_matrix(nodes: list[NodeProto]) -> None:
    """MatMulNBits with codes that stand for the matrix gives the answer, with the bias of Gemm."""
    model = graph(nodes)
    codes = np.full((4, 1, 16), 128, np.uint8)
    codes[:, 0, :4] += np.arange(-8, 8, dtype=np.int8).reshape(4, 4).view(np.uint8)
    scales = np.array([[0.5], [1], [2], [0.25]], np.float32)
    set_weight(model, (codes[:, 0, :4].astype(np.float32) - 128) * scales)
    wanted = answer(model)
    uses = WeightUses(model, ["w"])
    uses.quantize("w", (4, 4), "q", "s", bits=8, block_size=16, accuracy_level=1)
    uses.finish()
    for name, array, kind in (("q", codes, TensorProto.UINT8), ("s", scales, TensorProto.FLOAT)):
        model.graph.initializer.add(name=name, dims=array.shape, data_type=kind, raw_data=array.tobytes())
    assert "MatMulNBits" in {n.op_type for n in model.graph.node}
    assert not {"Gemm", "MatMul", "Transpose"} & {n.op_type for n in model.graph.node}
    np.testing.assert_allclose(answer(model), wanted, rtol=1e-5)


def test_every_provider_has_a_layout() -> None:
    """Providers that are not known to have FusedMatMul get matrices that any provider can read."""
    assert [layout_for(name) for name in ("cpu", "cuda")] == [Layout.FUSED] * 2
    assert [layout_for(name) for name in ("tensorrt", "webgpu", "directml", "unheard of")] == [Layout.TURNED] * 4
