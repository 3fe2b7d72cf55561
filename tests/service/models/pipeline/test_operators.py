"""A fused graph that the provider cannot run is refused before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.models.onnx_files import FLOAT, attribute, graph, model, node, value
from tintype.service.models.files import ModelFileError
from tintype.service.models.pipeline.operators import WITHOUT_CPU, check_operators
from tintype.service.models.runtime.providers import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

INT32 = 6
MICROSOFT = "com.microsoft"
INT_TYPE, FLOAT_TYPE = 2, 1


def number(name: str, count: int) -> bytes:
    return attribute(name, 3, count, INT_TYPE)


# Operators, each with the shapes of its inputs and its attributes.
CALLS = {
    "BiasAdd": ([[1, 8, 320], [320], [1, 8, 320]], []),
    "BiasSplitGelu": ([[1, 8, 2560], [2560]], []),
    "GemmFastGelu": ([[1, 8, 8], [8, 8], [8]], []),
    "GroupNorm": ([[1, 8, 8, 320], [320], [320]], [number("groups", 32), number("activation", 0)]),
    "NhwcConv": ([[1, 8, 8, 4], [4, 1, 1, 4]], []),
    "SkipGroupNorm": ([[1, 8, 8, 320], [320], [320], [1, 8, 8, 320]], [number("groups", 32), number("activation", 0)]),
    "PackedAttention": ([[4, 8], [8, 24], [24], [1, 4], [2]], [number("num_heads", 1)]),
    "PackedMultiHeadAttention": ([[4, 8], [4, 8], [4, 8], [8], [1, 4], [2]], [number("num_heads", 1)]),
}


def call(folder: Path, operator: str, shapes: Iterable[Iterable[int]], attributes: Iterable[bytes]) -> Path:
    """Write a graph that is one call of an operator of com.microsoft."""
    packed = operator.startswith("Packed")
    inputs = []
    for place, shape in enumerate(map(list, shapes)):
        whole = packed and ((len(shape) == 2 and shape[0] == 1) or shape == [2])
        inputs.append((f"i{place}", INT32 if whole else FLOAT, shape))
    nodes = [node(operator, [name for name, *_ in inputs], ["y"], *attributes, domain=MICROSOFT)]
    ports = [value(name, kind, shape) for name, kind, shape in inputs]
    content = model(graph("main", nodes, ports, [value("y", FLOAT, ["a"])]), domains=["", MICROSOFT])
    (folder / "unet").mkdir(exist_ok=True)
    (folder / "unet/model.onnx").write_bytes(content)
    return folder / "unet/model.onnx"


def test_each_operator_has_a_case() -> None:
    """No operator is refused without proof."""
    assert CALLS.keys() == WITHOUT_CPU


@pytest.mark.parametrize("operator", sorted(CALLS))
def test_refused_operators_have_no_kernel(tmp_path: Path, operator: str) -> None:
    """The installed onnxruntime has no kernel for them on a CPU: remove an operator here once it has."""
    path = call(tmp_path, operator, *CALLS[operator])
    with pytest.raises(Exception, match="Could not find an implementation"):
        onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    with pytest.raises(
        ModelFileError, match=rf"unet/model\.onnx uses {operator} of com\.microsoft, .* --provider cuda"
    ):
        check_operators([path], "cpu")
    check_operators([path], "cuda")
