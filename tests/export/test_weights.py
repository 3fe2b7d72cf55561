"""How weights are stored: half the bytes without a bit of difference to the rounded ones, large ones in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tintype.export.sessions import Graph
from tintype.export.weights import halve, store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch

SIDE = 64


def product(weights: np.ndarray) -> onnx.ModelProto:
    """Make y = x @ weights."""
    row = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", SIDE]) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    made = helper.make_graph([node], "g", row[:1], row[1:], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def kinds(model: onnx.ModelProto) -> list[int]:
    return [weight.data_type for weight in model.graph.initializer]


def half_weights() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float16).astype(np.float32)


def test_half_weights_compute_the_same_bits(tmp_path: Path) -> None:
    """Stored as float16, cast back: where float16 holds the weights, the result is the same to the last bit."""
    path, x = tmp_path / "model.onnx", np.ones((1, SIDE), np.float32)
    onnx.save(product(half_weights()), path)
    before, size = Graph(path)(x=x)["y"], path.stat().st_size
    assert store(path, half=True) < 0.6 * size
    assert kinds(onnx.load(path)) == [TensorProto.FLOAT16]
    np.testing.assert_array_equal(Graph(path)(x=x)["y"], before)


@pytest.mark.parametrize("value", [1 / 3, 1e6, 1e-9], ids=["too fine", "too large", "too small"])
def test_what_float16_can_not_hold_stays(value: float) -> None:
    """Not one weight is changed here: a tensor with a single value that would be stays float32."""
    weights = half_weights()
    weights[3, 4] = value
    model = product(weights)
    halve(model)
    assert kinds(model) == [TensorProto.FLOAT]


@pytest.mark.parametrize("half", [False, True])
def test_large_weights_lie_beside_the_graph(tmp_path: Path, *, half: bool) -> None:
    """From a size on weights get a file of their own, and storing again leaves nothing of the first behind."""
    path, x = tmp_path / "model.onnx", np.ones((1, SIDE), np.float32)
    onnx.save(product(half_weights()), path)
    expected = Graph(path)(x=x)["y"]
    for _ in range(2):
        size = store(path, half=half, external_from=1024)
        files = {p.name: p.stat().st_size for p in tmp_path.iterdir()}
        assert files.keys() == {"model.onnx", "model.onnx_data"}
        assert size == sum(files.values())
        assert len({p.stat().st_mode for p in tmp_path.iterdir()}) == 1, "who may read the one may read the other"
        assert files["model.onnx_data"] < SIDE * SIDE * (2 if half else 4) + 4096
        np.testing.assert_array_equal(Graph(path)(x=x)["y"], expected)


def test_an_fp16_export_is_half_as_large(exported: Callable[..., Path]) -> None:
    """The whole folder's graphs need at most 0.6 of the space; the timestep and all other inputs stay float32."""
    sizes = {p: sum(f.stat().st_size for f in exported("sd15", p).rglob("*.onnx*")) for p in ("fp32", "fp16")}
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    unet = onnx.load(exported("sd15", "fp16") / "unet" / "model.onnx")
    assert {entry.type.tensor_type.elem_type for entry in unet.graph.input} == {TensorProto.FLOAT}
