"""Stored weights: half the bytes without any difference, a quarter with a small one, large ones in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tintype.export.graph.session import GraphSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch

SIDE = 64


def linear_model() -> onnx.ModelProto:
    """Return y = x @ w.T as a linear layer is traced: `w` is an input, transposed by a node."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", SIDE]) for name in ("x", "w", "y")]
    nodes = [
        helper.make_node("Transpose", ["w"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    made = helper.make_graph(nodes, "g", values[:2], values[2:])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def half_weights() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float16).astype(np.float32)


def write_product(weight: np.ndarray, path: Path, store: str, **options: int) -> int:
    import torch  # noqa: PLC0415

    from tintype.export.graph import weights  # noqa: PLC0415

    return weights.write(
        linear_model(), {"w": torch.from_numpy(weight)}, path, store=getattr(weights, store), **options
    )


def kinds(path: Path) -> set[int]:
    return {weight.data_type for weight in onnx.load(path).graph.initializer}


X = np.random.default_rng(1).standard_normal((3, SIDE), np.float32)


def test_a_weight_is_stored_transposed(tmp_path: Path) -> None:
    """Weights of linear layers are stored transposed: no node transposes them at every load."""
    path, weight = tmp_path / "model.onnx", half_weights()
    write_product(weight, path, "unchanged")
    assert [node.op_type for node in onnx.load(path).graph.node] == ["MatMul"]
    np.testing.assert_allclose(GraphSession(path)(x=X)["y"], X @ weight.T, rtol=1e-4, atol=1e-4)


def test_half_weights_compute_the_same_bits(tmp_path: Path) -> None:
    """Stored as float16 and cast back: if float16 holds the weights, the result is bit-identical."""
    plain, path = tmp_path / "plain.onnx", tmp_path / "model.onnx"
    size = write_product(half_weights(), plain, "unchanged")
    assert write_product(half_weights(), path, "as_float16") < 0.6 * size
    assert kinds(path) == {TensorProto.FLOAT16}
    np.testing.assert_array_equal(GraphSession(path)(x=X)["y"], GraphSession(plain)(x=X)["y"])


@pytest.mark.parametrize("value", [1 / 3, 1e6, 1e-9], ids=["too fine", "too large", "too small"])
def test_values_beyond_float16_stay_float32(value: float, tmp_path: Path) -> None:
    """Storing changes no weight: a tensor with one value that float16 cannot hold stays float32."""
    weight = half_weights()
    weight[3, 4] = value
    write_product(weight, tmp_path / "model.onnx", "as_float16")
    assert kinds(tmp_path / "model.onnx") == {TensorProto.FLOAT}


def test_int8_keeps_a_scale_for_each_output(tmp_path: Path) -> None:
    """The error of a weight is at most half a step of its own output, for any size of the others."""
    weight = half_weights() * np.logspace(-3, 3, SIDE, dtype=np.float32)[:, None]
    path = tmp_path / "model.onnx"
    size = write_product(weight, tmp_path / "plain.onnx", "unchanged")
    assert write_product(weight, path, "as_int8") < 0.35 * size
    rows = GraphSession(path)(x=np.eye(SIDE, dtype=np.float32))["y"].T
    steps = np.abs(weight).max(1, keepdims=True) / 127
    assert (np.abs(rows - weight) / steps).max() < 0.51


@pytest.mark.parametrize("store", ["unchanged", "as_float16", "as_int8"])
def test_large_weights_are_stored_next_to_the_graph(tmp_path: Path, store: str) -> None:
    """From a size on weights get their own file, and storing again replaces it completely."""
    path = tmp_path / "model.onnx"
    write_product(half_weights(), path, store)
    expected = GraphSession(path)(x=X)["y"]
    for _ in range(2):
        size = write_product(half_weights(), path, store, external_from=1024)
        files = {p.name: p.stat().st_size for p in tmp_path.iterdir()}
        assert files.keys() == {"model.onnx", "model.onnx_data"}
        assert size == sum(files.values())
        assert len({p.stat().st_mode for p in tmp_path.iterdir()}) == 1, "both files have the same permissions"
        np.testing.assert_array_equal(GraphSession(path)(x=X)["y"], expected)


def test_an_fp16_export_is_half_as_large(exported: Callable[..., Path]) -> None:
    """The folder's graphs need at most 0.6 of the space; the timestep and all other inputs stay float32."""
    sizes = {p: sum(f.stat().st_size for f in exported("sd15", p).rglob("*.onnx*")) for p in ("fp32", "fp16")}
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    unet = onnx.load(exported("sd15", "fp16") / "unet" / "model.onnx")
    assert {entry.type.tensor_type.elem_type for entry in unet.graph.input} == {TensorProto.FLOAT}
