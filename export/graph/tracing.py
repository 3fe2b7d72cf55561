"""Trace a module to an ONNX graph without weights; `graph.weights` writes those.

The weights are inputs of the traced graph, with the parameters' names: otherwise the tracer would hold three copies of
each weight in memory.
The exporter is the older of torch's two (opset 18): onnxruntime's optimizations recognise the nodes that it writes.
"""

from __future__ import annotations

import contextlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import onnx
import torch

from ..components.tensor_specs import ExampleSize
from ..console import quiet
from .fused_operators import OPSET, fuse_operators

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..components.component import Component

# No two lengths are equal and none is 1: the tracer takes equal lengths for the same axis, and 1 for a constant.
TRACED_SIZE = ExampleSize(rows=2, height=16, width=24, tokens=77)
# Prefix of the parameters' names, from the attribute `module` of TracedModule.
PREFIX = "module."


class TracedModule(torch.nn.Module):
    """A component's module as the attribute `module`, called with positional inputs for tracing."""

    def __init__(self, component: Component) -> None:
        super().__init__()
        self.module = component.module
        self._call: Callable[..., Any] = component.traced_call or component.call
        self._names = (*component.inputs, *component.residuals)

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the component's outputs for its inputs, both in the component's order."""
        return self._call(self.module, **dict(zip(self._names, values, strict=True)))


def trace(component: Component, *, half: bool = False, size: ExampleSize = TRACED_SIZE) -> onnx.ModelProto:
    """Return the graph of a component, with its weights as further inputs, named as the module's parameters.

    With `half` the module must hold float16 weights (`float16_weights`), and the graph computes in float16; inputs
    marked `keep_float32` stay float32. `size` is that of the traced example, on which the graph does not depend.
    Residuals are inputs of the graph too.
    """
    inputs = {**component.inputs, **component.residuals}
    values = {**inputs, **component.outputs}
    output = BytesIO()
    with quiet(), component.trace_patch(), fuse_operators(), torch.no_grad():
        torch.onnx.export(
            TracedModule(component).eval(),
            tuple(_example(component, size, half=half)),
            output,
            input_names=list(inputs),
            output_names=list(component.outputs),
            dynamic_axes={name: value.dynamic for name, value in values.items()},
            opset_version=OPSET,
            dynamo=False,
            export_params=False,
            do_constant_folding=False,
        )
    model = onnx.load_from_string(output.getvalue())
    _name_parameters(model.graph)
    _make_axes_positive(model.graph)
    return model


def _example(component: Component, size: ExampleSize, *, half: bool) -> Iterator[torch.Tensor]:
    examples = component.example_inputs(size) | component.example_residuals(size)
    for name, value in examples.items():
        wide = name in component.inputs and component.inputs[name].keep_float32
        convert = half and value.is_floating_point() and not wide
        yield value.half() if convert else value


@contextlib.contextmanager
def float16_weights(module: torch.nn.Module) -> Iterator[None]:
    """Convert the module's weights to float16 while the context is active.

    Submodules listed in `_keep_in_fp32_modules` stay float32. Weights that were rounded before lose nothing.
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
    """Give weights the parameters' names in the module, and remove Identity nodes, which only rename."""
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    kept = [node for node in graph.node if node.op_type != "Identity" or _is_output(graph, node.output[0])]
    del graph.node[:]
    graph.node.extend(kept)
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = _root(sources, name).removeprefix(PREFIX)
    for entry in graph.input:
        entry.name = entry.name.removeprefix(PREFIX)


def _make_axes_positive(graph: onnx.GraphProto) -> None:
    """Replace negative axes of Transpose, which ONNX does not allow; `movedim(1, -1)` is traced with them."""
    for node in graph.node:
        if node.op_type == "Transpose":
            (perm,) = (attribute for attribute in node.attribute if attribute.name == "perm")
            perm.ints[:] = [axis % len(perm.ints) for axis in perm.ints]


def _is_output(graph: onnx.GraphProto, name: str) -> bool:
    return any(output.name == name for output in graph.output)


def _root(sources: dict[str, str], name: str) -> str:
    while name in sources:
        name = sources[name]
    return name
