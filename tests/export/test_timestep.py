"""One timestep per row: what a patched graph gives for rows at different steps, and which graphs can't be patched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tintype.export.sessions import Graph
from tintype.export.timestep import ScalarTimestep, add_batch_axis

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx import NodeProto

pytestmark = pytest.mark.torch

F32, F64 = TensorProto.FLOAT, TensorProto.DOUBLE


def graph(*nodes: NodeProto, rank: int = 0) -> ModelProto:
    """Make out[n, 2] = sample[n, 2] * t, where `nodes` make `t` [1] or [n] of `timestep`."""
    inputs = [
        helper.make_tensor_value_info("sample", F32, ["rows", 2]),
        helper.make_tensor_value_info("timestep", F32, ["n"] * rank),
    ]
    constants = [
        numpy_helper.from_array(np.array([0]), "zero"),
        numpy_helper.from_array(np.array([1]), "one"),
        numpy_helper.from_array(np.array([-1, 1]), "column"),
    ]
    nodes = (
        *nodes,
        helper.make_node("Reshape", ["t", "column"], ["t2"]),
        helper.make_node("Mul", ["sample", "t2"], ["out"]),
    )
    out = helper.make_tensor_value_info("out", F32, ["rows", 2])
    made = helper.make_graph(nodes, "denoiser", inputs, [out], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


UNSQUEEZED = [helper.make_node("Unsqueeze", ["timestep", "zero"], ["t"])]
RESHAPED = [helper.make_node("Reshape", ["timestep", "one"], ["t"])]
CAST = [
    helper.make_node("Cast", ["timestep"], ["wide"], to=F64),
    helper.make_node("Cast", ["wide"], ["narrow"], to=F32),
    helper.make_node("Unsqueeze", ["narrow", "zero"], ["t"]),
]


def run(model: ModelProto, timesteps: list[float]) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    sample = np.arange(2.0 * len(timesteps), dtype=np.float32).reshape(-1, 2)
    (out,) = session.run(None, {"sample": sample, "timestep": np.array(timesteps, np.float32)})
    return out


@pytest.mark.parametrize("nodes", [UNSQUEEZED, RESHAPED, CAST], ids=["unsqueeze", "reshape", "casts"])
def test_each_row_gets_its_own(nodes: list[NodeProto]) -> None:
    """Whatever makes a vector of the scalar, behind casts or not, each row is computed with its own timestep."""
    model = graph(*nodes)
    assert add_batch_axis(model)
    np.testing.assert_array_equal(run(model, [10, 100]), [[0, 10], [200, 300]])


def test_the_axis_is_called_as_in_the_other_inputs() -> None:
    """A batch has one name in all inputs, so that a runtime can fix it once."""
    model = graph(*UNSQUEEZED)
    add_batch_axis(model)
    assert model.graph.input[1].type.tensor_type.shape.dim[0].dim_param == "rows"


def test_a_vector_is_left_alone() -> None:
    """A graph that takes one timestep per row already is not changed."""
    model = graph(helper.make_node("Identity", ["timestep"], ["t"]), rank=1)
    before = model.SerializeToString()
    assert not add_batch_axis(model)
    assert model.SerializeToString() == before


def test_a_graph_that_counts_on_a_scalar_is_refused() -> None:
    """Arithmetic on the scalar itself might mean something else for a vector: better no patch than a wrong one."""
    nodes = [
        helper.make_node("Mul", ["timestep", "timestep"], ["s"]),
        helper.make_node("Unsqueeze", ["s", "zero"], ["t"]),
    ]
    with pytest.raises(ScalarTimestep, match="read by Mul"):
        add_batch_axis(graph(*nodes))


@pytest.mark.parametrize("family", ["sd15", "sd21"])
def test_rows_at_different_steps_equal_single_calls_exactly(exported: Callable[..., Path], family: str) -> None:
    """The promise that batching rests on: company at other steps changes not one bit of a row, at any size."""
    unet = Graph(exported(family) / "unet" / "model.onnx")
    random = np.random.default_rng(0)
    for height, width in ((16, 16), (8, 24)):
        rows = {
            "sample": random.standard_normal((3, 4, height, width), np.float32),
            "timestep": np.array([999.0, 500.5, 1.0], np.float32),
            "encoder_hidden_states": random.standard_normal((3, 77, 32), np.float32),
        }
        together = unet(**rows)["out_sample"]
        alone = [unet(**{name: value[[i]] for name, value in rows.items()})["out_sample"] for i in range(3)]
        np.testing.assert_array_equal(together, np.concatenate(alone))
        shuffled = unet(**rows | {"timestep": rows["timestep"][::-1]})["out_sample"]
        assert np.abs(shuffled - together).max() > 0.01, "the timestep must matter at all"


def test_one_timestep_for_all_rows_still_works(exported: Callable[..., Path]) -> None:
    """[1] is spread over the batch, as before the patch."""
    unet = Graph(exported("sd15") / "unet" / "model.onnx")
    rows = {
        "sample": np.ones((2, 4, 8, 8), np.float32),
        "encoder_hidden_states": np.ones((2, 77, 32), np.float32),
    }
    spread = unet(**rows, timestep=np.array([7.0], np.float32))["out_sample"]
    np.testing.assert_array_equal(spread, unet(**rows, timestep=np.array([7.0, 7.0], np.float32))["out_sample"])
