"""Where a graph takes adapters (LoRA): at each linear layer, and at each convolution of 1 by 1, which is one.

A layer x W becomes x W + (x A) B. A [rows, in, rank] and B [rows, rank, out] are inputs that need not be fed, of rank 0
by default; rows is 1, or one for each of the batch. `service.models.adapters` feeds them.
Rank 0 is not for nothing: the sum is one more pass over what a layer gives (docs/benchmarks.md), so that a graph takes
adapters only where the export is asked for it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx import NodeProto, helper, numpy_helper

from tintype.service.models.adapters import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx

WEIGHT = ".weight"
READERS = ("MatMul", "Gemm", "Conv")


@contextlib.contextmanager
def watched(module: torch.nn.Module) -> Iterator[dict[str, int]]:
    """Give the layers that can take adapters, and how many axes has what each of them was called with."""
    seen: dict[str, int] = {}

    def watch(name: str) -> Callable[..., None]:
        return lambda _layer, inputs: seen.update({name: inputs[0].ndim})

    layers = ((name, layer) for name, layer in module.named_modules() if name and _linear(layer))
    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _linear(layer: torch.nn.Module) -> bool:
    if isinstance(layer, torch.nn.Conv2d):
        return layer.kernel_size == layer.stride == (1, 1) and layer.groups == 1 and layer.padding in ((0, 0), 0)
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
                _open(graph, layer, weights[layer + WEIGHT])
                opened.add(layer)
            nodes += _added(node, layer, layers[layer])
    del graph.node[:]
    graph.node.extend(nodes)


def _layer(node: NodeProto, stands_for: dict[str, str]) -> str:
    """Return whose weights a node multiplies with, or nothing."""
    if node.op_type not in READERS:
        return ""
    weight = stands_for.get(node.input[1], node.input[1])
    return weight.removesuffix(WEIGHT) if weight.endswith(WEIGHT) else ""


def _open(graph: onnx.GraphProto, layer: str, weight: onnx.TypeProto.Tensor) -> None:
    """Add the inputs of a layer with weights [out, in, ...], and their defaults."""
    out, wide = (axis.dim_value for axis in weight.shape.dim[:2])
    kind = helper.tensor_dtype_to_np_dtype(weight.elem_type)
    for side, axes, default in (("A", (wide, "lora_r"), (1, wide, 0)), ("B", ("lora_r", out), (1, 0, out))):
        name = f"{PREFIX}{layer}.{side}"
        graph.input.append(helper.make_tensor_value_info(name, weight.elem_type, ("lora_n", *axes)))
        graph.initializer.append(numpy_helper.from_array(np.zeros(default, kind), name))


def _added(node: NodeProto, layer: str, axes: int) -> Iterator[NodeProto]:
    """Give the nodes that add an adapter to what `node` gives, which has so many axes."""
    x, y = node.input[0], node.output[0]
    a, b, base = f"{PREFIX}{layer}.A", f"{PREFIX}{layer}.B", f"{y}.base"
    node.output[0] = base
    made = _Nodes(f"{y}.lora")
    if node.op_type == "Conv":
        rows = made("Transpose", made("Reshape", x, made.constant(0, 0, -1)), perm=[0, 2, 1])
        # Not B's transpose times the rows': onnxruntime's fusion of those leaves a sum over rank 0 unwritten.
        wide = made("Transpose", made("MatMul", made("MatMul", rows, a), b), perm=[0, 2, 1])
        change = made("Reshape", wide, made("Shape", base))
    elif axes == 2:
        one = made.constant(1)
        row = made("Unsqueeze", x, one)
        change = made("Squeeze", made("MatMul", made("MatMul", row, a), b), one)
    else:
        change = made("MatMul", made("MatMul", x, a), b)
    made("Add", base, change, to=y)
    yield from made.nodes


class _Nodes:
    """Nodes one after the other; each call adds one and returns the name of what it gives."""

    def __init__(self, name: str) -> None:
        self._name, self.nodes = name, list[NodeProto]()

    def __call__(self, op: str, *inputs: str, to: str = "", **attributes: object) -> str:
        name = f"{self._name}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [to or name], name=name, **attributes))
        return to or name

    def constant(self, *numbers: int) -> str:
        return self("Constant", value=numpy_helper.from_array(np.array(numbers, np.int64)))
