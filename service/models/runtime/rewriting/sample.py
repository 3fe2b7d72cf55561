"""A small graph with group norms, to test whether CUDA computes it right with the channels last.

It is a resnet block as exported: a norm with SiLU, a convolution, a time embedding, and again a norm and a convolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph_source import GraphContent
from ...templates.onnx_pb2 import ModelProto, TensorProto
from ..providers import PROVIDERS, load_libraries, onnxruntime
from .graph_edit import NodeList
from .loading import rewritten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..graph import Values

CHANNELS, GROUPS, SIDE, EPSILON = 64, 32, 16, 1e-5
TOLERANCE = 2e-2  # of the largest value, in half precision
SHAPES = {"x": (2, CHANNELS, SIDE, SIDE), "embedding": (2, CHANNELS)}


def resnet_block(*, half: bool = True, groups: int = GROUPS, silu: bool = True) -> bytes:
    """Return the graph: y [2, 64, 16, 16] of x [2, 64, 16, 16] and an embedding [2, 64]."""
    model, kind = ModelProto(ir_version=8), TensorProto.FLOAT16 if half else TensorProto.FLOAT
    model.opset_import.add(domain="", version=18)
    graph, random = model.graph, np.random.default_rng(0)
    graph.name = "resnet"
    weights: dict[str, NDArray[Any]] = {
        "w": random.standard_normal((CHANNELS, CHANNELS, 3, 3), np.float32) / 20,
        "gamma": random.standard_normal(CHANNELS, np.float32),
        "beta": random.standard_normal(CHANNELS, np.float32),
        "ones": np.ones(groups),
        "zeros": np.zeros(groups),
    }
    for name, array in weights.items():
        raw = array.astype(np.float16 if half else np.float32).tobytes()
        graph.initializer.add(name=name, dims=array.shape, data_type=kind, raw_data=raw)
    for name, shape in SHAPES.items():
        _describe(graph.input.add(name=name), kind, shape)
    _describe(graph.output.add(name="y"), kind, SHAPES["x"])
    nodes = NodeList("block")
    x = _convolved(nodes, _norm(nodes, "x", groups, silu=silu), "first")
    outer = nodes.add("Unsqueeze", nodes.add("Unsqueeze", "embedding", nodes.constant([2])), nodes.constant([3]))
    _convolved(nodes, _norm(nodes, nodes.add("Add", x, outer), groups, silu=silu), "y")
    graph.node.extend(nodes)
    return model.SerializeToString()


def inputs(*, half: bool = True) -> dict[str, Values]:
    """Return the inputs, always the same."""
    random = np.random.default_rng(1)
    kind = np.float16 if half else np.float32
    return {name: random.standard_normal(shape, np.float32).astype(kind) for name, shape in SHAPES.items()}


def find_problem() -> str:
    """Return in one line why CUDA can't compute the rewritten graph; empty if it computes it right."""
    plain = GraphContent(resnet_block())
    try:
        right = _compute(plain, [PROVIDERS["cpu"]])
        load_libraries("cuda")
        options = {"prefer_nhwc": "1", "cudnn_conv_algo_search": "HEURISTIC"}
        result = _compute(rewritten(plain, "cuda").content, [(PROVIDERS["cuda"], options)])
    except Exception as error:  # noqa: BLE001 - after any error graphs are not rewritten
        return " ".join(f"{error or type(error).__name__}".split())
    difference = float(np.abs(result - right).max() / np.abs(right).max())
    return "" if difference <= TOLERANCE else f"off by {difference:.2g} of the largest value"  # the latter also for NaN


def _compute(content: GraphContent, providers: Sequence[Any]) -> NDArray[np.float32]:
    session = onnxruntime().InferenceSession(content.model, providers=list(providers), enable_fallback=0)
    wanted = providers[0][0] if isinstance(providers[0], tuple) else providers[0]
    if session.get_providers()[0] != wanted:
        raise RuntimeError(f"onnxruntime runs the graph on {session.get_providers()[0]} instead")
    (result,) = session.run(["y"], inputs())
    return np.asarray(result, np.float32)


def _norm(nodes: NodeList, x: str, groups: int, *, silu: bool) -> str:
    grouped = nodes.add("Reshape", x, nodes.constant([0, groups, -1]))
    normal = nodes.add("InstanceNormalization", grouped, "ones", "zeros", epsilon=EPSILON)
    restored = nodes.add("Reshape", normal, nodes.add("Shape", x))
    weight, bias = (nodes.add("Unsqueeze", name, nodes.constant([1, 2])) for name in ("gamma", "beta"))
    result = nodes.add("Add", nodes.add("Mul", restored, weight), bias)
    return nodes.add("Mul", result, nodes.add("Sigmoid", result)) if silu else result


def _convolved(nodes: NodeList, x: str, name: str) -> str:
    return nodes.add("Conv", x, "w", output=name, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _describe(port: Any, kind: int, shape: Sequence[int]) -> None:
    port.type.tensor_type.elem_type = kind
    for length in shape:
        port.type.tensor_type.shape.dim.add(dim_value=length)
