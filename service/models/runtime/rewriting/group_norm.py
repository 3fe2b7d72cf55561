"""Group norms as onnxruntime's own operator, which reads and writes the channels last.

The export writes a group norm as six nodes: the groups become rows, `InstanceNormalization` normalises them, and weight
and bias follow; SiLU adds two nodes. CUDA has one kernel for all of them, `GroupNorm`, and one that first adds a
resnet's time embedding, `SkipGroupNorm`. Both take [n, height, width, channels] only. With the option `prefer_nhwc`
onnxruntime turns convolutions to that layout too, the one of tensor cores, and removes the transpositions between them
and the norms (core/optimizer/layout_transformation). Without the norms each of these would end that layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...templates.onnx_pb2 import NodeProto, TensorProto
from .graph_edit import MICROSOFT, GraphEdit, NodeList, attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST = 13  # the first opset in which Unsqueeze reads its axes from an input
# What the kernels support (contrib_ops/cuda/diffusion/group_norm_impl.cu of onnxruntime 1.31): two channels a thread.
MULTIPLE, MOST_CHANNELS = 2, 512  # of one group
TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


class _Norm(NamedTuple):
    """A group norm in a graph: its input, weight and bias by name."""

    x: str
    weight: str
    bias: str
    groups: int
    epsilon: float
    reading: tuple[NodeProto, ...]  # its nodes that read `x`


def fuse_group_norms(edit: GraphEdit) -> int:
    """Replace group norms of images by onnxruntime's operator; return their number."""
    if edit.opset < OLDEST or edit.has_subgraphs:
        return 0
    replaced = edit.apply(_fused)
    if replaced:
        edit.remove_unread()
        edit.require_domain(MICROSOFT)
    return replaced


def _fused(edit: GraphEdit, node: NodeProto) -> NodeList | None:
    """Return the nodes in place of the last one of a group norm."""
    if node.op_type == "Mul":
        name = _silu_input(edit, node)
        last = edit.producer(name, "Add")
        norm = _match(edit, last) if last is not None else None
        return _nodes(edit, norm, node.output[0], silu=True) if norm else None
    norm = _match(edit, node) if node.op_type == "Add" else None
    if not norm or _is_silu(edit, node.output[0]):
        return None
    return _nodes(edit, norm, node.output[0], silu=False)


def _is_silu(edit: GraphEdit, name: str) -> bool:
    """Return whether a value's only use is its product with its sigmoid."""
    readers = edit.readers(name)
    return any(reader.op_type == "Mul" and _silu_input(edit, reader) == name for reader in readers)


def _silu_input(edit: GraphEdit, mul: NodeProto) -> str:
    """Return x of a product x * sigmoid(x) that is all that reads x; empty for another product."""
    for x, factor in _both_orders(mul):
        sigmoid = edit.producer(factor, "Sigmoid")
        if sigmoid is not None and sigmoid.input[0] == x and _same(edit.readers(x), (mul, sigmoid)):
            return x
    return ""


def _match(edit: GraphEdit, add: NodeProto) -> _Norm | None:
    """Return the group norm that ends with a sum, if the kernels support it."""
    for product, bias in _both_orders(add):
        mul = edit.producer(product, "Mul")
        for normalised, weight in _both_orders(mul) if mul is not None else ():
            norm = _match_parts(edit, normalised, _per_channel(edit, weight), _per_channel(edit, bias))
            if norm:
                return norm
    return None


def _match_parts(edit: GraphEdit, normalised: str, weight: str, bias: str) -> _Norm | None:
    restored = edit.producer(normalised, "Reshape")
    instance = edit.producer(restored.input[0], "InstanceNormalization") if restored is not None else None
    grouped = edit.producer(instance.input[0], "Reshape") if instance is not None else None
    shape = edit.producer(restored.input[1], "Shape") if restored is not None else None
    if restored is None or instance is None or grouped is None or shape is None or not (weight and bias):
        return None
    groups, channels = _groups(edit, grouped.input[1]), _channels(edit, weight)
    plain = _is_all(edit, instance.input[1], 1) and _is_all(edit, instance.input[2], 0)
    if shape.input[0] != grouped.input[0] or not plain or not _is_supported(channels, groups):
        return None
    epsilon = float(attributes(instance).get("epsilon", 1e-5))  # type: ignore[arg-type] # a number by the format
    return _Norm(grouped.input[0], weight, bias, groups, epsilon, (grouped, shape))


def _is_supported(channels: int, groups: int) -> bool:
    return bool(
        groups
        and channels
        and channels % (groups * MULTIPLE) == 0
        and channels // groups <= MOST_CHANNELS  # the whole group is computed by one block
    )


def _groups(edit: GraphEdit, name: str) -> int:
    """Return the groups of a shape [0, groups, -1], 0 for another one."""
    shape = edit.numbers(name)
    ok = shape is not None and shape.size == 3 and shape[0] == 0 and shape[2] == -1
    return int(shape[1]) if ok and shape is not None else 0


def _is_all(edit: GraphEdit, name: str, value: int) -> bool:
    numbers = edit.numbers(name)
    return numbers is not None and bool(np.all(numbers == value))


def _per_channel(edit: GraphEdit, name: str) -> str:
    """Return the vector of which a value is [channels, 1, 1]; empty if it is none. So the norm's input has rank 4."""
    unsqueeze = edit.producer(name, "Unsqueeze")
    return unsqueeze.input[0] if unsqueeze is not None and _axes(edit, unsqueeze) == [1, 2] else ""


def _axes(edit: GraphEdit, unsqueeze: NodeProto) -> list[int]:
    axes = edit.numbers(unsqueeze.input[1]) if len(unsqueeze.input) > 1 else None
    return [] if axes is None else [int(axis) for axis in axes.ravel()]


def _channels(edit: GraphEdit, name: str) -> int:
    """Return the length of a weight, which may be cast; 0 if it is unknown."""
    cast = edit.producer(name, "Cast")
    tensor = edit.tensors.get(cast.input[0] if cast is not None else name)
    return int(tensor.dims[0]) if tensor is not None and len(tensor.dims) == 1 else 0


def _nodes(edit: GraphEdit, norm: _Norm, output: str, *, silu: bool) -> NodeList:
    nodes = NodeList(output)
    wide = [nodes.add("Cast", name, to=TensorProto.FLOAT) for name in (norm.weight, norm.bias)]  # the kernels' type
    x, skip = _added_embedding(edit, norm)
    last = nodes.add("Transpose", x, perm=TO_LAST)
    fused = nodes.add(
        "SkipGroupNorm" if skip else "GroupNorm",
        last,
        *wide,
        *([skip] if skip else []),
        domain=MICROSOFT,
        groups=norm.groups,
        epsilon=norm.epsilon,
        activation=int(silu),
        channels_last=1,
    )
    nodes.add("Transpose", fused, perm=TO_FIRST, output=output)
    return nodes


def _added_embedding(edit: GraphEdit, norm: _Norm) -> tuple[str, str]:
    """Return x and an embedding [n, channels] whose sum is the norm's input, if nothing else reads the sum."""
    add = edit.producer(norm.x, "Add")
    if add is None or not _same(edit.readers(norm.x), norm.reading):
        return norm.x, ""
    for x, name in _both_orders(add):
        outer = edit.producer(name, "Unsqueeze")
        inner = edit.producer(outer.input[0], "Unsqueeze") if outer is not None else None
        if outer is not None and inner is not None and (_axes(edit, inner), _axes(edit, outer)) == ([2], [3]):
            return x, inner.input[0]
    return norm.x, ""


def _both_orders(node: NodeProto) -> Iterator[tuple[str, str]]:
    first, second = node.input[:2]
    yield first, second
    yield second, first


def _same(nodes: list[NodeProto], others: tuple[NodeProto, ...]) -> bool:
    """Return whether two collections have the same nodes."""
    return sorted(node.output[0] if node.output else "" for node in nodes) == sorted(each.output[0] for each in others)
