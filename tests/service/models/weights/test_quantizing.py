"""Weights in blocks of 8 and 4 bits: rounding, onnxruntime's reading of them, and the layers that are kept."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models.onnx_files import FLOAT, attribute, graph, model, node, tensor, value
from tintype.service.models.runtime.providers import onnxruntime
from tintype.service.models.weights.quantizing import (
    BLOCKS,
    EXACT,
    FAST,
    LIMITS,
    SMALLEST,
    Quantizer,
    dequantize,
    quantize,
    quantize_measured,
    quantized_bytes,
    reason_to_keep,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Floats = np.ndarray[Any, np.dtype[np.float32]]

UINT8, INTEGER = 2, 2  # types of tensors and attributes
BITS = pytest.mark.parametrize("bits", [8, 4])
SIDE = 256  # of a matrix of SMALLEST numbers


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def relative_error(found: Floats, expected: Floats) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def layer(matrix: Floats, bits: int, block: int, level: int) -> Callable[[Floats], Floats]:
    """Return onnxruntime's product with a quantized matrix [out, in]."""
    packed, scales = quantize(matrix, bits, block)
    numbers = {"K": matrix.shape[1], "N": matrix.shape[0], "bits": bits, "block_size": block, "accuracy_level": level}
    attributes = [attribute(name, 3, number, INTEGER) for name, number in numbers.items()]
    product = node("MatMulNBits", ["x", "codes", "scales"], ["y"], *attributes, domain="com.microsoft")
    weights = [
        tensor("codes", UINT8, packed.shape, packed.tobytes()),
        tensor("scales", FLOAT, scales.shape, scales.tobytes()),
    ]
    ports = [value(name, FLOAT, ("n", size)) for name, size in (("x", matrix.shape[1]), ("y", matrix.shape[0]))]
    content = model(graph("layer", [product], ports[:1], ports[1:], weights), domains=("", "com.microsoft"))
    options = onnxruntime().SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime().InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 150),
    block=st.sampled_from([16, 32, 64, 128]),
    bits=st.sampled_from([4, 8]),
    scale=st.floats(-15, 15),
    seed=st.integers(0, 1000),
)
def test_a_number_moves_by_at_most_half_a_step(
    rows: int, columns: int, block: int, bits: int, scale: float, seed: int
) -> None:
    """A step is the scale of the number's block; with 4 bits the largest number opposite to -8 moves by a whole one."""
    matrix = np.float32(10**scale) * normal(rows, columns, seed=seed)
    packed, scales, error = quantize_measured(matrix, bits, block)
    assert packed.nbytes + scales.nbytes == quantized_bytes(matrix.shape, bits, block)
    found = dequantize(packed, scales, bits, columns)
    steps = np.abs(scales).repeat(block, 1)[:, :columns]
    assert (np.abs(found - matrix) <= (0.501 if bits == 8 else 1.001) * steps).all()
    by_row, by_column = (np.linalg.norm(found - matrix, axis=i) / np.linalg.norm(matrix, axis=i) for i in (1, 0))
    assert error == pytest.approx(max(np.sqrt((by_row**2).mean()), np.median(by_column)), rel=1e-2, abs=1e-6)


@BITS
@pytest.mark.parametrize(("block", "columns"), [(16, 64), (32, 77), (64, 320), (128, 200)])
def test_onnxruntime_reads_the_same_numbers(bits: int, block: int, columns: int) -> None:
    """At level 1 its product equals the product with the dequantized matrix; at level 4 nearly."""
    matrix, x = normal(48, columns), normal(5, columns, seed=1)
    expected = x @ dequantize(*quantize(matrix, bits, block), bits, columns).T
    assert relative_error(layer(matrix, bits, block, EXACT)(x), expected) < 1e-6
    assert relative_error(layer(matrix, bits, block, FAST)(x), expected) < 0.01


@BITS
@pytest.mark.parametrize("level", [FAST, EXACT])
@pytest.mark.parametrize("rows", [1, 77])
def test_rows_do_not_depend_on_others(bits: int, level: int, rows: int) -> None:
    """Up to float32's rounding, with the blocks that the service uses; int8's rounding would differ by 0.001."""
    multiply, x = layer(normal(96, 320), bits, BLOCKS[bits], level), normal(3 * rows, 320, seed=1)
    alone = multiply(x[rows : 2 * rows])
    assert np.abs(multiply(x)[rows : 2 * rows] - alone).max() < 3e-6 * np.abs(alone).max()


@BITS
def test_published_matrices_have_small_errors(bits: int) -> None:
    """Normal and heavy-tailed weights, as training makes them, stay below the limits; so do zeros and float16."""
    heavy = np.random.default_rng(0).standard_t(5, (64, 1024)).astype(np.float32)
    for matrix in (normal(64, 1024), heavy):
        result = quantize_measured(matrix, bits, BLOCKS[bits])
        assert 0.1 * LIMITS[bits] < result.error < 0.8 * LIMITS[bits]
        half = quantize_measured(matrix.astype(np.float16), bits, BLOCKS[bits])
        assert half.error == pytest.approx(result.error, rel=0.01)
    packed, scales, error = quantize_measured(np.zeros((2, 70), np.float32), bits, 32)
    assert error == 0
    assert not dequantize(packed, scales, bits, 70).any()


@pytest.mark.parametrize("threads", [1, 3])
def test_memory_is_bounded_by_the_result(threads: int) -> None:
    """A float16 matrix of 32 MiB is never converted as a whole."""
    matrix = np.ones((4096, 4096), np.float16)
    tracemalloc.start()
    packed, scales, _ = quantize_measured(matrix, 8, 64, threads)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - packed.nbytes - scales.nbytes < (1 + threads) * 2**23


def test_threads_change_no_number() -> None:
    """Chunks of rows are independent."""
    matrix = normal(700, 1500)
    one, three = quantize_measured(matrix, 4, 32, 1), quantize_measured(matrix, 4, 32, 3)
    assert np.array_equal(one.packed, three.packed)
    assert np.array_equal(one.scales, three.scales)
    assert one.error == three.error


@pytest.mark.parametrize(
    ("name", "shape", "readers", "reason"),
    [
        ("blocks.0.attn1.to_q.weight", (320, 320), {"MatMul"}, None),
        ("blocks.0.proj_out.weight", (320, 320), {"MatMul"}, None),
        ("blocks.0.norm1.linear.weight", (18432, 3072), {"Gemm"}, None),
        ("blocks.0.attn1.to_q.weight", (255, 256), {"MatMul"}, f"fewer than {SMALLEST} numbers"),
        ("shared.weight", (32128, 4096), {"Gather"}, "not a linear layer"),
        ("shared.weight", (32128, 4096), {"Gather", "MatMul"}, "not a linear layer"),
        ("conv_in.weight", (320, 4, 3, 3), {"Conv"}, "not a linear layer"),
        ("unused.weight", (320, 320), set(), "not a linear layer"),
        ("proj_out.weight", (64, 3072), {"MatMul"}, "first or last layer"),
        ("norm_out.linear.weight", (6144, 3072), {"Gemm"}, "first or last layer"),
        ("text_projection.weight", (1280, 1280), {"MatMul"}, "first or last layer"),
    ],
)
def test_only_large_inner_linear_layers_are_quantized(
    name: str, shape: tuple[int, ...], readers: set[str], reason: str | None
) -> None:
    """First and last layers, embeddings, convolutions and small layers keep their precision."""
    assert reason_to_keep(name, shape, readers) == reason


@BITS
@pytest.mark.parametrize("spoiled", [np.nan, np.inf])
def test_layers_that_suffer_are_kept(bits: int, spoiled: float) -> None:
    """Outliers in every block leave the others too few steps; infinities and NaNs have no step."""
    quantizer, outliers = Quantizer(bits), normal(SIDE, SIDE)
    outliers[:, ::16] *= 40
    broken = normal(SIDE, SIDE)
    broken[7, 7] = spoiled
    layers = {"fine": normal(SIDE, SIDE), "outliers": outliers, "broken": broken}
    results = {name: quantizer.quantize(name, matrix) for name, matrix in layers.items()}
    assert [name for name, result in results.items() if result] == ["fine"]
    card = quantizer.card()
    assert list(card.quantized) == ["fine"]
    assert card.kept["outliers"].endswith(f"exceeds {LIMITS[bits]}")
    assert set(card.kept) == {"outliers", "broken"}


@BITS
def test_the_card_sums_up(bits: int) -> None:
    """It has the reasons, the worst layer, and bytes of matrices and kernels; biases are not listed."""
    quantizer = Quantizer(bits)
    assert not quantizer.wants("norm.weight", (320,), {"LayerNormalization"})
    assert not quantizer.wants("conv.weight", (8, 4, 3, 3), {"Conv"})
    for name, matrix in (("a", normal(SIDE, SIDE)), ("b", normal(SIDE, SIDE) ** 3)):
        assert quantizer.wants(name, matrix.shape, {"MatMul"})
        quantizer.quantize(name, np.sign(matrix) * np.abs(matrix) ** 0.5 if name == "a" else np.sqrt(np.abs(matrix)))
    card = quantizer.card()
    assert (card.kept, card.worst_layer) == ({"conv.weight": "not a linear layer"}, "b")
    assert card.mean_error == pytest.approx(sum(card.quantized.values()) / 2)
    assert card.worst_error == max(card.quantized.values())
    blocks = quantized_bytes((SIDE, SIDE), bits, BLOCKS[bits])
    assert (card.bytes_before, card.bytes_after) == (4 * (288 + 2 * SIDE**2), 4 * 288 + 2 * blocks)
    assert json.loads(json.dumps(card.as_json()))["bits"] == bits


@pytest.mark.parametrize(("bits", "block"), [(3, 32), (8, 48), (4, -1)])
def test_unknown_bits_and_blocks_are_refused(bits: int, block: int) -> None:
    """The message has the value and what would be right."""
    with pytest.raises(ValueError, match=r"(bits|block) must be .*; got (3|48|-1)"):
        Quantizer(bits, block)
