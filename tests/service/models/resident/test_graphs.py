"""The small graphs lay out latents as the host does: tokens, images to edit, channels of a mask, one timestep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.models.resident_rows import CPU
from tintype.service.models.pipeline.graph_inputs import pack
from tintype.service.models.resident.graphs import (
    Column,
    InputRecipe,
    TimeInput,
    UpdateRecipe,
    write_input,
    write_update,
)
from tintype.service.models.resident.values import Functions, fetch

SHAPE, PATCH, COLUMNS = (2, 4, 6), 2, Column.WEIGHTS + 1
FUNCTIONS = Functions(CPU)
RANDOM = np.random.default_rng(0)
STATE = RANDOM.standard_normal((3, 2, *SHAPE)).astype(np.float32)
TIME = TimeInput("float32", 1, single=False)


def compute(graph: Any, recipe: Any, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the outputs of a graph, whose types and shapes are those of `outputs`."""
    values = {name: CPU.send(array) for name, array in inputs.items()}
    results = {name: CPU.send(array) for name, array in outputs.items()}
    FUNCTIONS(graph, recipe)(values, results)
    return {name: fetch(value) for name, value in results.items()}


def call_inputs(**more: np.ndarray) -> dict[str, np.ndarray]:
    """Return the inputs of a call of the rows in slots 2 and 0."""
    coefficients = np.zeros((2, COLUMNS), np.float32)
    coefficients[:, Column.TIMESTEP] = 7, 9
    places = {"slots": np.array([2, 0, 2], np.int32), "rows": np.array([0, 1, 0], np.int32)}
    return {"state": STATE, "coefficients": coefficients, **places, **more}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize(("patch", "references"), [(0, 0), (PATCH, 0), (PATCH, 5)])
def test_latents_of_a_call(dtype: str, patch: int, channels: int, references: int) -> None:
    """Rows in the order of the call, channels behind the latents, and tokens of references behind those."""
    x, more = STATE[[2, 0, 2], 0].astype(dtype), {}
    if channels:
        more["channels"] = RANDOM.standard_normal((3, channels, *SHAPE[1:])).astype(dtype)
        x = np.concatenate([x, more["channels"]], axis=1)
    if patch:
        x = pack(x, patch)
    if references:
        more["references"] = RANDOM.standard_normal((3, references, x.shape[2])).astype(dtype)
        x = np.concatenate([x, more["references"]], axis=1)
    recipe = InputRecipe(SHAPE, 2, COLUMNS, dtype, TIME, channels, patch, references)
    assert recipe.axes == x.shape[1:]
    outputs = {"latents": np.zeros_like(x), "timesteps": np.zeros(3, np.float32)}
    found = compute(write_input, recipe, call_inputs(**more), outputs)
    assert np.array_equal(found["latents"], x)
    assert found["timesteps"].tolist() == [7, 9, 7]


@pytest.mark.parametrize("rank", [0, 1])
def test_one_timestep_for_all_rows(rank: int) -> None:
    """UNets exported by optimum take a scalar, others a list of one; integers are cast."""
    recipe = InputRecipe(SHAPE, 2, COLUMNS, "float32", TimeInput("int64", rank, single=True))
    timesteps = np.zeros((1,) * rank, np.int64)
    outputs: dict[str, np.ndarray] = {"latents": np.zeros((3, *SHAPE), np.float32), "timesteps": timesteps}
    found = compute(write_input, recipe, call_inputs(), outputs)["timesteps"]
    assert found.shape == (1,) * rank
    assert found == 7


@pytest.mark.parametrize("references", [0, 5])
def test_results_as_tokens(references: int) -> None:
    """They become latents; tokens of references are left out. Other slots and older outputs stay."""
    latents = RANDOM.standard_normal((2, *SHAPE)).astype(np.float16)
    tokens = np.concatenate(
        [pack(latents.astype(np.float32), PATCH).astype(np.float16), np.zeros((2, references, 8), np.float16)], axis=1
    )
    recipe = UpdateRecipe(SHAPE, 2, COLUMNS, "float16", tokens.shape[1:], patch=PATCH)
    coefficients = np.zeros((2, COLUMNS), np.float32)
    coefficients[:, Column.Q] = coefficients[:, Column.WEIGHTS] = 1  # D and x' are the result
    places = {"slots": np.array([2, 0], np.int32), "scattered": np.array([[2], [0]])}
    inputs = {"state": STATE, "coefficients": coefficients, "out0": tokens, **places}
    outputs = {"updated": np.zeros_like(STATE), "size": np.zeros(2, np.float32)}
    found = compute(write_update, recipe, inputs, outputs)
    for place, slot in enumerate((2, 0)):
        assert np.array_equal(found["updated"][slot], np.stack([latents[place]] * 2).astype(np.float32))
    assert np.array_equal(found["updated"][1], STATE[1])
    np.testing.assert_allclose(found["size"], np.abs(latents.astype(np.float32)).sum((1, 2, 3)), rtol=1e-5)
