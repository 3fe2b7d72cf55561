"""The definition of onnxruntime's `GroupNorm` and `SkipGroupNorm` in standard operators: CPUs have no kernels for them.

From onnxruntime's docs/ContribOperators.md: with the channels last, s = x + skip, normalised over the height, the width
and the channels of each group, times gamma, plus beta, and then SiLU if `activation` is 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.service.models.runtime.rewriting.graph_edit import MICROSOFT, GraphEdit, NodeList, attributes
from tintype.service.models.templates.onnx_pb2 import ModelProto, TensorProto

if TYPE_CHECKING:
    from tintype.service.models.templates.onnx_pb2 import NodeProto


def with_definitions(model: bytes) -> bytes:
    """Return a model with group norms by their definition."""
    edit = GraphEdit(ModelProto.FromString(model))
    edit.apply(_definition)
    result: bytes = edit.model.SerializeToString()
    return result


def _definition(edit: GraphEdit, node: NodeProto) -> NodeList | None:
    if node.op_type not in ("GroupNorm", "SkipGroupNorm"):
        return None
    assert node.domain == MICROSOFT
    settings = attributes(node)
    assert settings["channels_last"] == 1, "CUDA's kernel supports no other layout"
    nodes = NodeList(node.output[0])
    x, gamma, beta = (nodes.add("Cast", name, to=TensorProto.FLOAT) for name in node.input[:3])
    if node.op_type == "SkipGroupNorm":
        skip = nodes.add("Cast", nodes.add("Unsqueeze", node.input[3], nodes.constant([1, 2])), to=TensorProto.FLOAT)
        x = nodes.add("Add", x, skip)
    channels = _channels(edit, node.input[1])
    groups = settings["groups"]
    assert isinstance(groups, int)
    rows = nodes.add("Reshape", x, nodes.constant([0, -1, groups, channels // groups]))
    axes, epsilon = nodes.constant([1, 3]), settings["epsilon"]
    assert isinstance(epsilon, float)
    apart = nodes.add("Sub", rows, _mean(edit, nodes, rows, axes))
    variance = _mean(edit, nodes, nodes.add("Mul", apart, apart), axes)
    normal = nodes.add("Div", apart, nodes.add("Sqrt", nodes.add("Add", variance, nodes.constant(epsilon))))
    normal = nodes.add("Reshape", normal, nodes.add("Shape", x))
    result = nodes.add("Add", nodes.add("Mul", normal, gamma), beta)
    if settings["activation"]:
        result = nodes.add("Mul", result, nodes.add("Sigmoid", result))
    nodes.add("CastLike", result, node.input[0], output=node.output[0])
    return nodes


def _mean(edit: GraphEdit, nodes: NodeList, x: str, axes: str) -> str:
    return nodes.add("ReduceMean", x, axes) if edit.opset >= 18 else nodes.add("ReduceMean", x, axes=[1, 3])


def _channels(edit: GraphEdit, gamma: str) -> int:
    cast = edit.producer(gamma, "Cast")
    assert cast is not None
    assert next(each.i for each in cast.attribute if each.name == "to") == TensorProto.FLOAT, "what CUDA's kernel reads"
    inner = edit.producer(cast.input[0], "Cast")
    return edit.tensors[inner.input[0] if inner is not None else cast.input[0]].dims[0]
