"""Attention and RMS norms as standard operators, for runtimes that lack onnxruntime's own.

TensorRT's parser has no importer for `MultiHeadAttention` and `SimplifiedLayerNormalization`
(github.com/onnx/onnx-tensorrt, docs/operators.md), so onnxruntime would cut a graph around each of them. Attention gets
the nodes that torch's exporter writes for it, with the scale's square root on queries and on keys: their product then
stays within float16. Norms compute in float32, as onnxruntime's kernels do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...templates.onnx_pb2 import TensorProto
from .graph_edit import MICROSOFT, GraphEdit, NodeList, attributes

if TYPE_CHECKING:
    from ...templates.onnx_pb2 import NodeProto

OLDEST = 15  # the first opset in which Shape returns a part of a shape, and CastLike exists
AXES_AS_INPUT = 18  # the first opset in which ReduceMean reads its axes from an input
_ATTENTION_ATTRIBUTES = {"num_heads", "scale", "unidirectional", "mask_filter_value"}
_BIAS = 5  # the input that is added to the scores
_EXCLUDED = -10000.0  # onnxruntime's score of a key that a query must not see


def use_standard_operators(edit: GraphEdit) -> int:
    """Replace attention and RMS norms by standard operators; return how many nodes were replaced."""
    if edit.opset < OLDEST:
        return 0
    return edit.apply(_standard)


def _standard(edit: GraphEdit, node: NodeProto) -> NodeList | None:
    if node.op_type == "MultiHeadAttention" and node.domain == MICROSOFT:
        return _attention(node)
    if node.op_type == "SimplifiedLayerNormalization":
        return _rms_norm(edit, node)
    return None


def _attention(node: NodeProto) -> NodeList | None:
    """Return the nodes of softmax(q k^T scale + bias) v; q, k and v are [n, tokens, heads * width].

    None for a node with further inputs or outputs: packed projections, masks of keys, keys and values of the past.
    """
    inputs = [name for name in node.input if name]
    bias = node.input[_BIAS] if len(node.input) > _BIAS else ""
    if len(inputs) != 3 + bool(bias) or not all(node.input[:3]) or len(node.output) != 1:
        return None
    settings = attributes(node)
    if not settings.keys() <= _ATTENTION_ATTRIBUTES:
        return None
    nodes, (query, key, value) = NodeList(node.output[0]), node.input[:3]
    split = nodes.constant([0, 0, int(settings["num_heads"]), -1])  # type: ignore[arg-type] # an integer by the format
    query, key, value = (nodes.add("Reshape", each, split) for each in (query, key, value))
    factor = _root_of_scale(nodes, query, settings.get("scale"))
    query = nodes.add("Mul", nodes.add("Transpose", query, perm=[0, 2, 1, 3]), factor)
    key = nodes.add("Mul", nodes.add("Transpose", key, perm=[0, 2, 3, 1]), factor)
    scores = nodes.add("MatMul", query, key)
    scores = nodes.add("Add", scores, bias) if bias else scores
    scores = nodes.add("Add", scores, _causal_mask(nodes, query, key)) if settings.get("unidirectional") else scores
    attended = nodes.add(
        "MatMul", nodes.add("Softmax", scores, axis=-1), nodes.add("Transpose", value, perm=[0, 2, 1, 3])
    )
    joined = nodes.constant([0, 0, -1])
    nodes.add("Reshape", nodes.add("Transpose", attended, perm=[0, 2, 1, 3]), joined, output=node.output[0])
    return nodes


def _root_of_scale(nodes: NodeList, query: str, scale: object) -> str:
    """Return the square root of the scale, by default of 1 / sqrt(width), in the type of a query [..., width]."""
    if isinstance(scale, float) and scale > 0:
        factor = nodes.constant(scale**0.5)
    else:
        width = nodes.add("Cast", nodes.add("Shape", query, start=3, end=4), to=TensorProto.FLOAT)
        factor = nodes.add("Pow", width, nodes.constant(-0.25))
    return nodes.add("CastLike", factor, query)


def _causal_mask(nodes: NodeList, query: str, key: str) -> str:
    """Return the mask [queries, keys] that hides later keys; query [..., queries, width], key [..., width, keys]."""
    shape = nodes.add(
        "Concat", nodes.add("Shape", query, start=2, end=3), nodes.add("Shape", key, start=3, end=4), axis=0
    )
    hidden = nodes.add("Expand", nodes.constant(_EXCLUDED), shape)
    return nodes.add("CastLike", nodes.add("Trilu", hidden, nodes.constant(1), upper=1), query)


def _rms_norm(edit: GraphEdit, node: NodeProto) -> NodeList | None:
    """Return the nodes of x / sqrt(mean(x^2) + epsilon) * scale, over the last axes; None if their number is unknown.

    TensorRT keeps a Pow that ReduceMean follows in float32, by `trt_layer_norm_fp32_fallback`.
    """
    settings = attributes(node)
    axis = settings.get("axis", -1)
    if not isinstance(axis, int) or axis >= 0 or len(node.output) != 1:
        return None
    nodes, (x, scale) = NodeList(node.output[0]), node.input
    wide = nodes.add("Cast", x, to=TensorProto.FLOAT)
    squares, axes = nodes.add("Pow", wide, nodes.constant(2.0)), list(range(axis, 0))
    if edit.opset < AXES_AS_INPUT:
        mean = nodes.add("ReduceMean", squares, axes=axes)
    else:
        mean = nodes.add("ReduceMean", squares, nodes.constant(axes))
    epsilon = float(settings.get("epsilon", 1e-5))  # type: ignore[arg-type] # a number by the format
    root = nodes.add("Sqrt", nodes.add("Add", mean, nodes.constant(epsilon)))
    scaled = nodes.add("Mul", nodes.add("Div", wide, root), nodes.add("Cast", scale, to=TensorProto.FLOAT))
    nodes.add("CastLike", scaled, scale, output=node.output[0])
    return nodes
