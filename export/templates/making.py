"""Make the template of one kind of graph from the fields of its configuration that shape it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import diffusers
import onnx
import torch
import transformers
from onnx import TensorProto

from tintype.service.models.templates.archive import Variant

from ..components import autoencoders, denoisers, text_encoders
from ..components.tensor_specs import ExampleSize
from ..console import quiet
from ..errors import VerificationError
from ..graph.component_graph import ComponentGraph
from ..graph.tracing import float16_weights
from . import weightless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..components.component import Component

# Lengths as in `tracing.TRACED_SIZE`, but shorter. UNets halve their sides three times. An AutoencoderDC enlarges
# latents 32 times.
SMALL = ExampleSize(rows=2, height=8, width=12, tokens=5)
FOR_UNETS = ExampleSize(rows=2, height=16, width=24, tokens=5)
FOR_DC = ExampleSize(rows=2, height=3, width=5, tokens=7)
# Numbers that all weights have, one after the other. A graph that depends on them holds a value of a weight.
NUMBERS = (0.01, 0.02)
LOCATION = "weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphKind:
    """How the graphs of one kind are made.

    - `part` is the attribute of a pipeline that holds the module, `build` makes the module of a configuration.
    - `components` returns the module's component or components, of which `position` is the wanted one.
    - `halves`: there is a float16 variant.
    """

    part: str
    build: Callable[..., torch.nn.Module]
    components: Callable[[Any, str], Component | tuple[Component, Component]]
    position: int = 0
    size: ExampleSize = SMALL
    halves: bool = True


def _text_encoder(model: Any, config: Any) -> Callable[..., torch.nn.Module]:
    return lambda **fields: model(config(**fields))


def _without_buffers(model: Any) -> Callable[..., torch.nn.Module]:
    """Return a function that builds a model whose buffers are all stored: SD3's table of positions takes 4 GB."""

    def build(**fields: Any) -> torch.nn.Module:
        with torch.device("meta"):
            module: torch.nn.Module = model(**fields)
        return module

    return build


def _pair(name: str, build: Any, components: Any, **options: Any) -> dict[str, GraphKind]:
    """Return the kinds of an autoencoder's two graphs."""
    names = (f"{name}_encoder", f"{name}_decoder")
    return {
        each: GraphKind(part="vae", build=build, components=components, position=position, **options)
        for position, each in enumerate(names)
    }


KINDS: dict[str, GraphKind] = {
    "clip": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.CLIPTextModel, transformers.CLIPTextConfig),
        components=text_encoders.clip,
    ),
    "clip_projected": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.CLIPTextModelWithProjection, transformers.CLIPTextConfig),
        components=text_encoders.clip,
    ),
    "t5": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.T5EncoderModel, transformers.T5Config),
        components=text_encoders.t5,
    ),
    "masked_t5": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.T5EncoderModel, transformers.T5Config),
        components=text_encoders.masked_t5,
    ),
    "gemma": GraphKind(
        part="text_encoder",
        build=_text_encoder(transformers.Gemma2Model, transformers.Gemma2Config),
        components=text_encoders.gemma,
    ),
    "unet": GraphKind(part="unet", build=diffusers.UNet2DConditionModel, components=denoisers.unet, size=FOR_UNETS),
    "sd3": GraphKind(
        part="transformer", build=_without_buffers(diffusers.SD3Transformer2DModel), components=denoisers.sd3
    ),
    "flux": GraphKind(part="transformer", build=diffusers.FluxTransformer2DModel, components=denoisers.flux),
    "pixart": GraphKind(part="transformer", build=diffusers.PixArtTransformer2DModel, components=denoisers.pixart),
    "sana": GraphKind(part="transformer", build=diffusers.SanaTransformer2DModel, components=denoisers.sana),
    **_pair("kl", diffusers.AutoencoderKL, autoencoders.kl),
    **_pair("dc", diffusers.AutoencoderDC, autoencoders.dc, size=FOR_DC, halves=False),
    **_pair("tiny", diffusers.AutoencoderTiny, autoencoders.tiny),
}


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
