"""A module becomes a graph without weights: torch's tracer writes the nodes, and `export.graph.weights` the numbers.

Weights are never copied into the graph by the tracer, which would hold each of them three times: they are its inputs,
under the parameters' own names, until they are written beside it.
The tracer is the older of torch's two (opset 18): what it writes is what onnxruntime's own passes know.
"""

from __future__ import annotations

import contextlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import onnx
import torch

from ..components.values import Size
from ..quiet import quiet
from .fused_operators import OPSET, fused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..components.component import Component

# Not 1 anywhere, and no two alike: the tracer takes equal lengths for the same one, and 1 for a constant.
TRACED = Size(rows=2, height=16, width=24, tokens=77)
# Where the parameters of the traced module begin with: ours holds it under this name.
PREFIX = "module."


class Called(torch.nn.Module):
    """A component's module under the name `module`, called by position as while it is traced."""

    def __init__(self, component: Component) -> None:
        super().__init__()
        self.module = component.module
        self._call: Callable[..., Any] = component.traced or component.call
        self._names = tuple(component.inputs)

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Take the inputs in the component's order and return its outputs."""
        return self._call(self.module, **dict(zip(self._names, values, strict=True)))


def trace(component: Component, *, half: bool = False) -> onnx.ModelProto:
    """Return the graph of a component; its weights are the graph's further inputs, named as the module's parameters.

    With `half` the module must hold float16 weights (`halved`), and the graph computes in float16; inputs that are
    `wide` stay float32.
    """
    values = {**component.inputs, **component.outputs}
    written = BytesIO()
    with quiet(), component.patch(), fused(), torch.no_grad():
        torch.onnx.export(
            Called(component).eval(),
            tuple(_example(component, half=half)),
            written,
            input_names=list(component.inputs),
            output_names=list(component.outputs),
            dynamic_axes={name: value.dynamic for name, value in values.items()},
            opset_version=OPSET,
            dynamo=False,
            export_params=False,
            do_constant_folding=False,
        )
    model = onnx.load_from_string(written.getvalue())
    _name_parameters(model.graph)
    _count_axes_from_the_front(model.graph)
    return model


def _example(component: Component, *, half: bool) -> Iterator[torch.Tensor]:
    for name, value in component.example(TRACED).items():
        narrow = half and value.is_floating_point() and not component.inputs[name].wide
        yield value.half() if narrow else value


@contextlib.contextmanager
def halved(module: torch.nn.Module) -> Iterator[None]:
    """Let the module have float16 weights, but for those that its authors keep in float32.

    Nothing is lost by it where the weights were rounded before.
    """
    kept = tuple(getattr(module, "_keep_in_fp32_modules", None) or ())
    module.half()
    for name, part in module.named_modules():
        if name.rpartition(".")[2] in kept:
            part.float()
    try:
        yield
    finally:
        module.float()


def _name_parameters(graph: onnx.GraphProto) -> None:
    """Give parameters the names that they have in the module, and pass over nodes that only rename."""
    stands_for = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    kept = [node for node in graph.node if node.op_type != "Identity" or _is_output(graph, node.output[0])]
    del graph.node[:]
    graph.node.extend(kept)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = _root(stands_for, name).removeprefix(PREFIX)
    for entry in graph.input:
        entry.name = entry.name.removeprefix(PREFIX)


def _count_axes_from_the_front(graph: onnx.GraphProto) -> None:
    """A Transpose knows no negative axes, which `movedim(1, -1)` is traced with."""
    for node in graph.node:
        if node.op_type == "Transpose":
            (perm,) = (attribute for attribute in node.attribute if attribute.name == "perm")
            perm.ints[:] = [axis % len(perm.ints) for axis in perm.ints]


def _is_output(graph: onnx.GraphProto, name: str) -> bool:
    return any(output.name == name for output in graph.output)


def _root(stands_for: dict[str, str], name: str) -> str:
    while name in stands_for:
        name = stands_for[name]
    return name
