"""Attention and RMS norms as standard operators have the results of onnxruntime's own, on the CPU provider."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tintype.service.models.graph_source import GraphContent
from tintype.service.models.runtime.providers import onnxruntime
from tintype.service.models.runtime.rewriting.graph_edit import MICROSOFT, NodeList
from tintype.service.models.runtime.rewriting.loading import rewritten
from tintype.service.models.templates.archive import Variant
from tintype.service.models.templates.catalogue import installed
from tintype.service.models.templates.onnx_pb2 import ModelProto, TensorProto

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tintype.service.models.runtime.graph import Values

HEADS, ROWS, QUERIES, KEYS, WIDTH = 4, 2, 7, 9, 8
UNKNOWN = {"MultiHeadAttention", "SimplifiedLayerNormalization"}  # to TensorRT's parser


def model(nodes: NodeList, shapes: dict[str, Sequence[int]], *, half: bool, opset: int = 18) -> bytes:
    made = ModelProto(ir_version=8)
    made.opset_import.add(domain="", version=opset)
    made.opset_import.add(domain=MICROSOFT, version=1)
    made.graph.name = "g"
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    for name, shape in shapes.items():
        port = made.graph.input.add(name=name)
        port.type.tensor_type.elem_type = kind
        for length in shape:
            port.type.tensor_type.shape.dim.add(dim_value=length)
    made.graph.output.add(name="y").type.tensor_type.elem_type = kind
    made.graph.node.extend(nodes)
    return made.SerializeToString()


def attention(causal: bool, bias: bool, scale: float | None, *, half: bool) -> tuple[bytes, dict[str, Sequence[int]]]:  # noqa: FBT001 - parameters
    keys = QUERIES if causal else KEYS
    shapes: dict[str, Sequence[int]] = {"q": (ROWS, QUERIES, HEADS * WIDTH)}
    shapes |= dict.fromkeys("kv", (ROWS, keys, HEADS * WIDTH))
    shapes |= {"bias": (1, HEADS, QUERIES, keys)} if bias else {}
    nodes, more = NodeList("n"), ["", "", "bias"] if bias else []
    options: dict[str, float] = {"scale": scale} if scale else {}
    options |= {"unidirectional": 1} if causal else {}
    nodes.add("MultiHeadAttention", "q", "k", "v", *more, output="y", domain=MICROSOFT, num_heads=HEADS, **options)
    return model(nodes, shapes, half=half), shapes


def compute(content: bytes, feeds: dict[str, Values]) -> Any:
    session = onnxruntime().InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0], np.float32)


def check(plain: bytes, shapes: dict[str, Sequence[int]], *, half: bool, factor: float = 1.0) -> None:
    """Compare a graph with its rewritten form, which has no operator that TensorRT lacks."""
    content, replaced = rewritten(GraphContent(plain), "tensorrt")
    assert replaced == 1
    assert isinstance(content.model, bytes)
    assert not UNKNOWN & {node.op_type for node in ModelProto.FromString(content.model).graph.node}
    random = np.random.default_rng(0)
    kind = np.float16 if half else np.float32
    feeds = {name: (factor * random.standard_normal(shape)).astype(kind) for name, shape in shapes.items()}
    right, result = compute(plain, feeds), compute(content.model, feeds)
    assert np.isfinite(right).all()
    assert np.abs(result - right).max() <= (5e-3 if half else 1e-5) * np.abs(right).max()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("causal", "bias", "scale"), [(False, False, None), (False, True, 0.5), (True, False, None), (False, False, 0.125)]
)
def test_attention(*, half: bool, causal: bool, bias: bool, scale: float | None) -> None:
    """With and without a mask and a scale; a causal one hides later keys."""
    check(*attention(causal, bias, scale, half=half), half=half)


@pytest.mark.parametrize(("half", "factor"), [(False, 1.0), (True, 1.0), (True, 300.0)])
@pytest.mark.parametrize("opset", [17, 18])
def test_rms_norms(*, half: bool, opset: int, factor: float) -> None:
    """Over the last two axes, in float32: squares of half precision would be infinite from 256 on."""
    shapes: dict[str, Sequence[int]] = {"x": (ROWS, 5, 3, WIDTH), "w": (3, WIDTH)}
    nodes = NodeList("n")
    nodes.add("SimplifiedLayerNormalization", "x", "w", output="y", axis=-2, epsilon=1e-3)
    check(model(nodes, shapes, half=half, opset=opset), shapes, half=half, factor=factor)


@pytest.mark.parametrize(
    ("inputs", "opset"),
    [(["qkv"], 18), (["q", "k", "v", "b"], 18), (["q", "k", "v", "", "mask"], 18), (["q", "k", "v"], 14)],
)
def test_other_attention_stays(inputs: list[str], opset: int) -> None:
    """Packed projections, their biases and masks of keys are not rewritten, nor graphs before opset 15."""
    nodes = NodeList("n")
    nodes.add("MultiHeadAttention", *inputs, output="y", domain=MICROSOFT, num_heads=HEADS)
    content = GraphContent(model(nodes, {}, half=False, opset=opset))
    assert rewritten(content, "tensorrt") == (content, 0)


@pytest.mark.parametrize("name", ["sdxl-unet", "sd35-medium", "flux1-schnell", "clip-l", "t5-xxl", "qwen3-4b-layers"])
def test_templates_have_standard_operators_only(name: str) -> None:
    """So TensorRT makes one engine of a whole graph, instead of one for each part between these nodes."""
    template = next(template for template in installed() if template.name == name)
    plain = template.read(Variant())
    before = Counter(node.op_type for node in ModelProto.FromString(plain).graph.node)
    content, replaced = rewritten(GraphContent(plain), "tensorrt")
    assert isinstance(content.model, bytes)
    graph = ModelProto.FromString(content.model).graph
    assert replaced == sum(before[operator] for operator in UNKNOWN) > 0
    assert not [node.op_type for node in graph.node if node.domain or node.op_type in UNKNOWN]
    assert len({name for node in graph.node for name in node.output}) == sum(len(node.output) for node in graph.node)
