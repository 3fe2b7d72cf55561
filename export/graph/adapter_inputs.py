"""Add optional graph inputs for adapters (LoRA) at linear layers and convolutions.

A layer x W becomes x W + (x A) B. A [rows, in, rank] and B [rows, rank, out] are optional inputs with a default of rank
0; rows is 1 or the batch size. The service's model adapters feed them.
A 1x1 convolution is a linear layer. Any other becomes conv(x, W) + B conv(x, A), with A [rows, rank, down, across, in]
and B [rows, out, rank]. `Conv` cannot compute conv(x, A), because the kernels of A differ between rows. So the graph
first multiplies every tap of A with every cell of x. Then a convolution with a constant kernel, whose batch is
rows * rank images, moves each tap's product to its cell and adds the products.
Without an adapter (rank 0) the sum is still one more pass over the layer's output (docs/benchmarks.md). Therefore a
graph takes adapters only with `--with-lora`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx import NodeProto, helper, numpy_helper

from tintype.service.models.adapters.layer_sizes import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx

WEIGHT = ".weight"
RANK = "lora_r"
POINTWISE = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4}  # a convolution that is a linear layer
READERS = ("MatMul", "Gemm", "Conv")


@contextlib.contextmanager
def record_adaptable_layers(module: torch.nn.Module) -> Iterator[dict[str, int]]:
    """Record calls of the layers that can take adapters: layer name -> number of axes of its input."""
    seen: dict[str, int] = {}

    def watch(name: str) -> Callable[..., None]:
        return lambda _layer, inputs: seen.update({name: inputs[0].ndim})

    layers = ((name, layer) for name, layer in module.named_modules() if name and _takes_adapters(layer))
    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _takes_adapters(layer: torch.nn.Module) -> bool:
    """Whether a layer can take adapters: linear layers, and convolutions without groups."""
    if isinstance(layer, torch.nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros"
    return isinstance(layer, torch.nn.Linear)


def add_inputs(model: onnx.ModelProto, layers: dict[str, int]) -> None:
    """Add adapter inputs to the traced graph `model`, whose weights are inputs.

    `layers` is the result of `record_adaptable_layers`.
    """
    graph = model.graph
    weights = {entry.name: entry.type.tensor_type for entry in graph.input}
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    nodes: list[NodeProto] = []
    done: set[str] = set()
    for node in graph.node:
        nodes.append(node)
        layer = _layer(node, sources)
        if layer in layers and layer + WEIGHT in weights:
            if layer not in done:
                _declare_inputs(graph, node, layer, weights[layer + WEIGHT])
                done.add(layer)
            nodes += _adapter_nodes(node, layer, layers[layer], weights[layer + WEIGHT].elem_type)
    del graph.node[:]
    graph.node.extend(nodes)


def _layer(node: NodeProto, sources: dict[str, str]) -> str:
    """Return the name of the layer whose weight a node reads, or an empty text."""
    if node.op_type not in READERS:
        return ""
    weight = sources.get(node.input[1], node.input[1])
    return weight.removesuffix(WEIGHT) if weight.endswith(WEIGHT) else ""


def _declare_inputs(graph: onnx.GraphProto, node: NodeProto, layer: str, weight: onnx.TypeProto.Tensor) -> None:
    """Add the inputs A and B of a layer with weights [out, in, ...], and their defaults."""
    out, width, *kernel = (axis.dim_value for axis in weight.shape.dim)
    kind = helper.tensor_dtype_to_np_dtype(weight.elem_type)
    sides: dict[str, tuple[str | int, ...]] = {"A": (width, RANK), "B": (RANK, out)}
    if node.op_type == "Conv" and not _is_pointwise(node):
        sides = {"A": (RANK, *kernel, width), "B": (out, RANK)}
    for side, axes in sides.items():
        name = f"{PREFIX}{layer}.{side}"
        default = np.zeros((1, *(axis if isinstance(axis, int) else 0 for axis in axes)), kind)
        graph.input.append(helper.make_tensor_value_info(name, weight.elem_type, ("lora_n", *axes)))
        graph.initializer.append(numpy_helper.from_array(default, name))


def _is_pointwise(node: NodeProto) -> bool:
    """Whether a Conv is a linear layer at each cell."""
    return POINTWISE.items() <= _attributes(node).items()


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _adapter_nodes(node: NodeProto, layer: str, axes: int, kind: int) -> Iterator[NodeProto]:
    """Yield nodes that add an adapter to the output of `node`, which has `axes` axes and the type `kind`."""
    x, y = node.input[0], node.output[0]
    a, b, base = f"{PREFIX}{layer}.A", f"{PREFIX}{layer}.B", f"{y}.base"
    node.output[0] = base
    nodes = _NodeList(f"{y}.lora")
    if node.op_type == "Conv":
        change = _pointwise(nodes, x, a, b, base) if _is_pointwise(node) else _convolution(nodes, node, a, b, kind)
    elif axes == 2:
        one = nodes.constant(1)
        row = nodes("Unsqueeze", x, one)
        change = nodes("Squeeze", nodes("MatMul", nodes("MatMul", row, a), b), one)
    else:
        change = nodes("MatMul", nodes("MatMul", x, a), b)
    nodes("Add", base, change, to=y)
    yield from nodes.nodes


def _pointwise(nodes: _NodeList, x: str, a: str, b: str, base: str) -> str:
    """Multiply the channels of x [n, in, h, w] by A and B at each cell."""
    rows = nodes("Transpose", nodes("Reshape", x, nodes.constant(0, 0, -1)), perm=[0, 2, 1])
    # onnxruntime would fuse B's transpose times the rows, and leave that sum over rank 0 uninitialised.
    flat = nodes("Transpose", nodes("MatMul", nodes("MatMul", rows, a), b), perm=[0, 2, 1])
    return nodes("Reshape", flat, nodes("Shape", base))


def _convolution(nodes: _NodeList, node: NodeProto, a: str, b: str, kind: int) -> str:
    """Convolve x [n, in, h, w] with A as `node` does, then multiply the channels by B."""
    x, base = node.input[0], node.output[0]
    kernel = _attributes(node)["kernel_shape"]
    taps = int(np.prod(kernel))
    flat = nodes("Reshape", a, nodes.shape(nodes("Shape", a, end=1), -1, nodes("Shape", a, start=4)))
    products = nodes("MatMul", flat, nodes("Reshape", x, nodes.constant(0, 0, -1)))  # [n, rank * taps, h * w]
    images = nodes("Reshape", products, nodes.shape(-1, taps, nodes("Shape", x, start=2)))
    shifts = np.eye(taps).reshape(1, taps, *kernel).astype(helper.tensor_dtype_to_np_dtype(kind))
    moved = nodes("Conv", images, nodes.array(shifts), **_attributes(node))  # [n * rank, 1, ...]
    cells = nodes("ReduceProd", nodes("Shape", base, start=2), keepdims=1)
    low = nodes("Reshape", moved, nodes.shape(nodes("Shape", x, end=1), -1, cells))
    # At rank 0 this product has one row for any n (onnxruntime 1.31); the sum broadcasts it.
    return nodes("Reshape", nodes("MatMul", b, low), nodes.shape(-1, nodes("Shape", base, start=1)))


class _NodeList:
    """A list of nodes; each call appends one and returns the name of its output."""

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
        """Concatenate lengths to a shape; a part is a number or the name of a shape."""
        return self("Concat", *(part if isinstance(part, str) else self.constant(part) for part in parts), axis=0)
