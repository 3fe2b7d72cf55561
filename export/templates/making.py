"""Make the template of one kind of graph from the fields of its configuration that shape it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import onnx
import torch
from onnx import TensorProto

from tintype.service.models.templates.archive import Variant

from ..console import quiet
from ..errors import VerificationError
from ..graph.component_graph import ComponentGraph
from ..graph.tracing import float16_weights
from . import weightless
from .kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..components.component import Component
    from ..components.tensor_specs import ExampleSize

# Numbers that all weights have, one after the other. A graph that depends on them holds a value of a weight.
NUMBERS = (0.01, 0.02)
LOCATION = "weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphConfig:
    """What a template is made from: its kind, and the fields that shape it (`keys.shaping`).

    `pooled_width` is the width of the second text encoder's pooled text, which SDXL's UNets do not state themselves.
    """

    kind: str
    fields: Mapping[str, Any]
    pooled_width: int = 1280


@dataclass(frozen=True, slots=True)
class MadeTemplate:
    """The serialized variants of a graph, the number of its weights, and that of the tensors that hold them."""

    config: GraphConfig
    variants: tuple[tuple[Variant, bytes], ...]
    parameters: int
    tensors: int


def make(config: GraphConfig, numbers: Sequence[float] = NUMBERS) -> MadeTemplate:
    """Make a template; all of `numbers` must give the same graph.

    Raises:
        ExportRefusal: the configuration is not supported.
        VerificationError: the graph depends on a weight's value, or operators are not fused.
    """
    kind = KINDS[config.kind]
    component = component_of(config)
    variants: list[tuple[Variant, bytes]] = []
    for half in (False, True) if kind.halves else (False,):
        graph = _trace(component, kind.size, numbers, half=half)
        for adapters in (False, True) if component.takes_adapters else (False,):
            model = graph.with_inputs(adapters=adapters)
            make_weights_external(model, component)
            variants.append((Variant(half, adapters), model.SerializeToString(deterministic=True)))
    shapes = [tensor.dims for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
    return MadeTemplate(config, tuple(variants), sum(map(_product, shapes)), len(shapes))


def component_of(config: GraphConfig) -> Component:
    """Return the component of a configuration; its module has no weights."""
    kind = KINDS[config.kind]
    with quiet():
        module = weightless.build(lambda: kind.build(**config.fields))
    second = SimpleNamespace(config=SimpleNamespace(projection_dim=config.pooled_width))
    made = kind.components(SimpleNamespace(**{"text_encoder_2": second, kind.part: module}), kind.part)
    return made[kind.position] if isinstance(made, tuple) else made


def _trace(component: Component, size: ExampleSize, numbers: Sequence[float], *, half: bool) -> ComponentGraph:
    """Trace a component once with each number as its weights, and compare the graphs."""
    graph, *others = (_trace_once(component, size, number, half=half) for number in numbers)
    for other in others:
        check_equal(component.folder, graph.model, other.model)
    return graph


def _trace_once(component: Component, size: ExampleSize, number: float, *, half: bool) -> ComponentGraph:
    with (
        float16_weights(component.module) if half else nullcontext(),
        weightless.stored_tensors_as(component.module, number),
        weightless.trace_without_values(),
    ):
        return ComponentGraph.trace(component, half=half, size=size)


def check_equal(name: str, first: onnx.ModelProto, second: onnx.ModelProto) -> None:
    """Raise VerificationError if two graphs, traced with different weights, differ."""
    if first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True):
        return
    nodes = zip(first.graph.node, second.graph.node, strict=False)
    differing = next((one.name or one.op_type for one, other in nodes if one != other), "the list of nodes")
    raise VerificationError(f"{name}: the graph holds a value of a weight: {differing} depends on it")


def make_weights_external(model: onnx.ModelProto, component: Component) -> None:
    """Replace the graph's inputs that are weights by initializers without numbers."""
    graph = model.graph
    optional = {initializer.name for initializer in graph.initializer}
    for entry in list(graph.input):
        if entry.name not in component.inputs and entry.name not in optional:
            graph.input.remove(entry)
            graph.initializer.append(_external(entry))


def _external(entry: onnx.ValueInfoProto) -> TensorProto:
    kind = entry.type.tensor_type
    return TensorProto(
        name=entry.name,
        dims=[axis.dim_value for axis in kind.shape.dim],
        data_type=kind.elem_type,
        data_location=TensorProto.EXTERNAL,
        external_data=[onnx.StringStringEntryProto(key="location", value=LOCATION)],
    )


def _product(numbers: Iterator[int]) -> int:
    return int(torch.Size(numbers).numel())
