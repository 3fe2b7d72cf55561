"""Graph inputs for adapters (LoRA), at linear layers and convolutions.

A layer x W becomes x W + (x A) B, where A [rows, in, rank] and B [rows, rank, out] are inputs that need not be fed, of
rank 0 by default; rows is 1, or the batch's. `service.models.pipeline.lora` feeds them.
A convolution of 1 by 1 is a linear layer. Any other one becomes conv(x, W) + B conv(x, A), with A [rows, rank, down,
across, in] and B [rows, out, rank]. The kernels of A differ from row to row, which `Conv` cannot compute, so its
products come first and their places afterwards: every tap of A is multiplied with every cell of x, and a convolution
with a constant kernel, which has rows * rank images for its batch, moves each tap's product to its cell and adds up.
Rank 0 costs something: the sum is one more pass over the output of a layer (docs/benchmarks.md). So a graph takes
adapters only where the export is asked for it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx import NodeProto, helper, numpy_helper

from tintype.service.models.pipeline.lora import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx

WEIGHT = ".weight"
RANK = "lora_r"
PLAIN = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4}  # a convolution that is a linear layer
READERS = ("MatMul", "Gemm", "Conv")


@contextlib.contextmanager
def watched(module: torch.nn.Module) -> Iterator[dict[str, int]]:
    """Give the layers that can take adapters, and how many axes has what each of them was called with."""
    seen: dict[str, int] = {}

    def watch(name: str) -> Callable[..., None]:
        return lambda _layer, inputs: seen.update({name: inputs[0].ndim})

    layers = ((name, layer) for name, layer in module.named_modules() if name and _takes(layer))
    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _takes(layer: torch.nn.Module) -> bool:
    """Whether a layer can take adapters: convolutions of groups cannot."""
    if isinstance(layer, torch.nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros"
    return isinstance(layer, torch.nn.Linear)


def add(model: onnx.ModelProto, layers: dict[str, int]) -> None:
    """Let the traced graph `model`, whose weights are its inputs, take adapters at `layers`, as `watched` gave them."""
    graph = model.graph
    weights = {entry.name: entry.type.tensor_type for entry in graph.input}
    stands_for = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    nodes: list[NodeProto] = []
    opened: set[str] = set()
    for node in graph.node:
        nodes.append(node)
        layer = _layer(node, stands_for)
        if layer in layers and layer + WEIGHT in weights:
            if layer not in opened:
                _open(graph, node, layer, weights[layer + WEIGHT])
                opened.add(layer)
            nodes += _added(node, layer, layers[layer], weights[layer + WEIGHT].elem_type)
    del graph.node[:]
    graph.node.extend(nodes)


def _layer(node: NodeProto, stands_for: dict[str, str]) -> str:
    """Return whose weights a node multiplies with, or nothing."""
    if node.op_type not in READERS:
        return ""
    weight = stands_for.get(node.input[1], node.input[1])
    return weight.removesuffix(WEIGHT) if weight.endswith(WEIGHT) else ""


def _open(graph: onnx.GraphProto, node: NodeProto, layer: str, weight: onnx.TypeProto.Tensor) -> None:
    """Add the inputs of a layer with weights [out, in, ...], and their defaults."""
    out, wide, *kernel = (axis.dim_value for axis in weight.shape.dim)
    kind = helper.tensor_dtype_to_np_dtype(weight.elem_type)
    sides: dict[str, tuple[str | int, ...]] = {"A": (wide, RANK), "B": (RANK, out)}
    if node.op_type == "Conv" and not _is_plain(node):
        sides = {"A": (RANK, *kernel, wide), "B": (out, RANK)}
    for side, axes in sides.items():
        name = f"{PREFIX}{layer}.{side}"
        default = np.zeros((1, *(axis if isinstance(axis, int) else 0 for axis in axes)), kind)
        graph.input.append(helper.make_tensor_value_info(name, weight.elem_type, ("lora_n", *axes)))
        graph.initializer.append(numpy_helper.from_array(default, name))


def _is_plain(node: NodeProto) -> bool:
    """Whether a Conv is a linear layer at each cell."""
    return PLAIN.items() <= _attributes(node).items()


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _added(node: NodeProto, layer: str, axes: int, kind: int) -> Iterator[NodeProto]:
    """Yield nodes that add an adapter to the output of `node`.

    The output has `axes` axes and the type `kind`.
    """
    x, y = node.input[0], node.output[0]
    a, b, base = f"{PREFIX}{layer}.A", f"{PREFIX}{layer}.B", f"{y}.base"
    node.output[0] = base
    made = _Nodes(f"{y}.lora")
    if node.op_type == "Conv":
        change = _linear_at_cells(made, x, a, b, base) if _is_plain(node) else _convolved(made, node, a, b, kind)
    elif axes == 2:
        one = made.constant(1)
        row = made("Unsqueeze", x, one)
        change = made("Squeeze", made("MatMul", made("MatMul", row, a), b), one)
    else:
        change = made("MatMul", made("MatMul", x, a), b)
    made("Add", base, change, to=y)
    yield from made.nodes


def _linear_at_cells(made: _Nodes, x: str, a: str, b: str, base: str) -> str:
    """Multiply x by A and B at each cell.

    x is [n, in, h, w]; A and B act on the channels.
    """
    rows = made("Transpose", made("Reshape", x, made.constant(0, 0, -1)), perm=[0, 2, 1])
    # Not B's transpose times the rows': onnxruntime's fusion of those leaves a sum over rank 0 unwritten.
    wide = made("Transpose", made("MatMul", made("MatMul", rows, a), b), perm=[0, 2, 1])
    return made("Reshape", wide, made("Shape", base))


def _convolved(made: _Nodes, node: NodeProto, a: str, b: str, kind: int) -> str:
    """Convolve x with A as `node` does, then multiply by B.

    x is [n, in, h, w]; B acts on the channels.
    """
    x, base = node.input[0], node.output[0]
    kernel = _attributes(node)["kernel_shape"]
    taps = int(np.prod(kernel))
    flat = made("Reshape", a, made.shape(made("Shape", a, end=1), -1, made("Shape", a, start=4)))
    products = made("MatMul", flat, made("Reshape", x, made.constant(0, 0, -1)))  # [n, rank * taps, h * w]
    images = made("Reshape", products, made.shape(-1, taps, made("Shape", x, start=2)))
    moving = np.eye(taps).reshape(1, taps, *kernel).astype(helper.tensor_dtype_to_np_dtype(kind))
    moved = made("Conv", images, made.array(moving), **_attributes(node))  # [n * rank, 1, ...]
    cells = made("ReduceProd", made("Shape", base, start=2), keepdims=1)
    low = made("Reshape", moved, made.shape(made("Shape", x, end=1), -1, cells))
    # Of rank 0 this product has one row whatever n is (onnxruntime 1.31); the sum repeats it.
    return made("Reshape", made("MatMul", b, low), made.shape(-1, made("Shape", base, start=1)))


class _Nodes:
    """Nodes one after the other; each call adds one and returns the name of what it gives."""

    def __init__(self, name: str) -> None:
        self._name, self.nodes = name, list[NodeProto]()

    def __call__(self, op: str, *inputs: str, to: str = "", **attributes: object) -> str:
        name = f"{self._name}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [to or name], name=name, **attributes))
        return to or name

    def constant(self, *numbers: int) -> str:
        return self.array(np.array(numbers, np.int64))

    def array(self, values: np.ndarray[Any, np.dtype[Any]]) -> str:
        return self("Constant", value=numpy_helper.from_array(values))

    def shape(self, *parts: str | int) -> str:
        """Join lengths to a shape: numbers, and names of shapes."""
        return self("Concat", *(part if isinstance(part, str) else self.constant(part) for part in parts), axis=0)
