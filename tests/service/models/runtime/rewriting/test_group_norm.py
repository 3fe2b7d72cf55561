"""Group norms become onnxruntime's operator, by whose definition the results stay the same.

No GPU computed these graphs here; `sample.find_problem` compares CUDA's results when a server starts.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.models.group_norms import with_definitions
from tests.support.models.unet_calls import UNET, unet_feeds
from tintype.service.models.graph_source import GraphContent
from tintype.service.models.runtime.providers import onnxruntime
from tintype.service.models.runtime.rewriting import sample
from tintype.service.models.runtime.rewriting.loading import Rewritten, rewritten
from tintype.service.models.templates.archive import Variant
from tintype.service.models.templates.catalogue import installed
from tintype.service.models.templates.onnx_pb2 import ModelProto

if TYPE_CHECKING:
    from tintype.service.models.runtime.graph import Values


def operators(content: GraphContent) -> Counter[str]:
    assert isinstance(content.model, bytes)
    return Counter(node.op_type for node in ModelProto.FromString(content.model).graph.node)


def fuse(model: bytes) -> Rewritten:
    return rewritten(GraphContent(model), "cuda")


def compute(model: bytes, feeds: dict[str, Values]) -> Any:
    ort = onnxruntime()
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-5), (True, 5e-3)])
def test_a_resnet_block_has_two_operators(*, half: bool, silu: bool, tolerance: float) -> None:
    """Norm, weight, bias and SiLU become one; the second one adds the time embedding as well."""
    plain = sample.resnet_block(half=half, silu=silu)
    content, replaced = fuse(plain)
    assert replaced == 2
    counts = {name: count for name, count in operators(content).items() if name not in ("Constant", "Unsqueeze")}
    assert counts == {"GroupNorm": 1, "SkipGroupNorm": 1, "Cast": 4, "Transpose": 4, "Conv": 2}
    assert isinstance(content.model, bytes)
    right, result = (
        compute(model, sample.inputs(half=half)).astype(np.float32)
        for model in (plain, with_definitions(content.model))
    )
    assert np.abs(result - right).max() <= tolerance * np.abs(right).max()


def test_the_built_in_denoiser_keeps_its_results() -> None:
    """All of its 30 norms are fused."""
    plain = UNET.path.read_bytes()
    content, replaced = fuse(plain)
    assert (replaced, operators(content)["InstanceNormalization"]) == (30, 0)
    assert isinstance(content.model, bytes)
    feeds = unet_feeds(2, side=8)
    right, result = compute(plain, feeds), compute(with_definitions(content.model), feeds)
    assert np.abs(result - right).max() <= 1e-5 * np.abs(right).max()


@pytest.mark.parametrize(
    ("name", "fused", "left"), [("sdxl-unet", 46, 0), ("kl-decoder", 29, 1), ("kl-flux2-small-decoder", 23, 7)]
)
def test_the_norms_of_images_in_templates_are_fused(name: str, fused: int, left: int) -> None:
    """Left are a norm of tokens, whose rank is 3, and norms with three channels in a group."""
    template = next(template for template in installed() if template.name == name)
    content, replaced = fuse(template.read(Variant()))
    assert (replaced, operators(content)["InstanceNormalization"]) == (fused, left)


@pytest.mark.parametrize("groups", [64, 1])
def test_groups_that_the_kernel_does_not_support_stay(groups: int) -> None:
    """It computes two channels at a time: a group of one channel is refused."""
    content, replaced = fuse(sample.resnet_block(groups=groups))
    assert replaced == (2 if groups == 1 else 0)
    assert operators(content)["InstanceNormalization"] == 2 - replaced


def test_a_value_that_another_node_reads_is_not_fused_away() -> None:
    """A sum that goes on as a residual is still computed; so is a norm's result before SiLU."""
    model = ModelProto.FromString(sample.resnet_block())
    (total,) = [node.output[0] for node in model.graph.node if node.op_type == "Add" and "first" in node.input]
    before = [node.input[0] for node in model.graph.node if node.op_type == "Sigmoid"]
    for name in (total, before[0]):
        output = model.graph.output.add(name=name)
        output.type.tensor_type.elem_type = 10
    content, replaced = fuse(model.SerializeToString())
    counts = operators(content)
    assert replaced == 2
    assert (counts["GroupNorm"], counts["SkipGroupNorm"], counts["Sigmoid"], counts["Add"]) == (2, 0, 1, 1)


def test_cuda_is_not_trusted_without_a_result() -> None:
    """On a machine without a GPU the test says that onnxruntime does not run the graph there."""
    if onnxruntime().get_available_providers()[0] == "CPUExecutionProvider":
        assert "CUDA" in sample.find_problem()
