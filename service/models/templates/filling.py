"""Published weights for the template of their architecture.

Names, shapes and formats are checked here; `filled_template` reads the numbers when a session is made.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..files import ModelFileError, label
from ..weights.linking import link
from ..weights.quantizing import is_halved, reason_to_keep
from ..weights.tensor_files import TensorFiles
from .archive import Variant
from .catalogue import find
from .filled_template import FilledTemplate
from .keys import NoTemplate, kind_of, shown
from .language_fields import LANGUAGE_MODELS, unread_tensors
from .layout import WeightUses, external_weights
from .onnx_pb2 import ModelProto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..graph_source import GraphSource
    from ..loading_options import LoadingOptions
    from ..weights.pieces import ComponentWeights
    from .filled_template import Template

FLOAT32_KINDS = ("dc_encoder", "dc_decoder", "gemma", "gemma_penultimate")
"""Components that overflow in float16: linear attention that divides by sums, and Gemma, which is published in bfloat16
and whose hidden states grow with each layer. Graphs of other language models hold theirs in float32."""
NO_VARIANTS: Mapping[str, str] = MappingProxyType({})
ADVICE = "make a model folder with `tintype export`, or templates of your own for --templates (see docs/templates.md)"
OTHER_HALVES = {"encoder": ("decoder.", "post_quant_conv."), "decoder": ("encoder.", "quant_conv.")}
"""Tensors of the other half of a VAE, which is in the same file, by the end of the kind."""


ENDING_IN_IMAGE = {
    "sd3_controlnet": ("",),
    "flux_controlnet": ("",),
    "qwen_image": ("attn.to_add_out.", "txt_mlp."),
}
"""Kinds whose last block changes the text too, which is then not read, and the layers for it."""


UNREAD = {"chatglm": ("output_layer.", "encoder.final_layernorm.", "rotary_pos_emb.")}
"""Kinds whose graphs lack layers that published files have, by the beginnings of their names."""


class Component(NamedTuple):
    """A component: its class in diffusers or transformers, its config.json, and its weights."""

    class_name: str
    config: Mapping[str, Any]
    weights: ComponentWeights

    def vision(self) -> Component:
        """Return the vision tower of a language model that reads images. Raises ModelFileError."""
        config = self.config.get("vision_config")
        if not isinstance(config, dict):
            raise ModelFileError(f"{self.class_name} must have a vision_config to read images; got {shown(config)}")
        naming = self.weights.naming
        inner = replace(self.weights, naming=lambda name: naming(f"visual.{name}"), scope="visual.")
        return Component("Qwen2_5_VisionTransformerPretrainedModel", config, inner)


def fill_components(
    names: Iterable[str],
    find_one: Callable[[str], Component | None],
    options: LoadingOptions,
    *,
    adapters: bool,
    variants: Mapping[str, str] = NO_VARIANTS,
) -> dict[str, GraphSource]:
    """Return the graphs of components by name.

    `find_one` returns a component, None if the model lacks it. `variants` choose among the graphs of text encoders of
    one class (`kind_of`).

    Raises:
        ModelFileError: components have no template, or their weights do not fit it; each is named.
    """
    graphs: dict[str, GraphSource] = {}
    faults: list[str] = []
    advice: list[str] = []
    for name in names:
        try:
            if found := find_one(name):
                kind = kind_of(found.class_name, name, variants.get(name, ""))
                graphs[name] = fill_component(name, kind, found.config, found.weights, options, adapters=adapters)
        except ModelFileError as error:
            faults.append(str(error))
            advice = [ADVICE] if isinstance(error, NoTemplate) else advice
    if faults:
        raise ModelFileError("; ".join(dict.fromkeys(faults + advice)))
    return graphs


def fill_component(
    component: str,
    kind: str,
    config: Mapping[str, Any],
    weights: ComponentWeights,
    options: LoadingOptions,
    *,
    adapters: bool,
) -> FilledTemplate:
    """Return the graph of a component whose configuration is `config`, with published weights.

    Only the headers of the weights are read.

    Raises:
        NoTemplate: there is no template for the component, or a tensor is missing, has another shape or format, or is
            unknown.
        ModelFileError: a configuration, a file of weights or an index of templates is damaged.
    """
    try:
        template = find(kind, config, options.templates)
    except ModelFileError as error:
        raise type(error)(f"{component}: {error}") from error
    has_half = any(each.variant.half for each in template.variants)
    half = has_half and kind not in FLOAT32_KINDS and not config.get("force_upcast")
    return fill_template(template, component, weights, options, adapters=adapters, half=half)


def _unread(template: Template, names: Iterable[str]) -> tuple[str, ...]:
    """Return the beginnings of names of published tensors that a template's graph, with these `names`, lacks."""
    if template.kind in LANGUAGE_MODELS:
        return unread_tensors(names, int(template.config["num_hidden_layers"]))
    if template.kind in ENDING_IN_IMAGE:
        last = f"transformer_blocks.{int(template.config['num_layers']) - 1}."
        return tuple(last + layer for layer in ENDING_IN_IMAGE[template.kind])
    return UNREAD.get(template.kind, OTHER_HALVES.get(template.kind.rpartition("_")[2], ()))


def fill_template(
    template: Template,
    component: str,
    weights: ComponentWeights,
    options: LoadingOptions,
    *,
    adapters: bool,
    half: bool = True,
) -> FilledTemplate:
    """Return a template with published weights; without `half` it computes in float32 on every provider.

    Raises:
        NoTemplate: a tensor is missing, has another shape or format, or is unknown.
        ModelFileError: a file of weights is damaged.
    """
    data = template.read(Variant(half=False, adapters=adapters))
    model = ModelProto.FromString(data)
    shapes = {name: tuple(tensor.dims) for name, tensor in external_weights(model.graph).items()}
    tensors = TensorFiles(weights.files)
    others = _unread(template, shapes)
    try:
        links = link(shapes, tensors, weights, tuple(weights.scope + name for name in others))
    except ModelFileError as error:
        message = f"{label(weights.files[0])} does not fit the template {template.name}; {error}"
        raise NoTemplate(message) from error
    uses = WeightUses(model, shapes)
    return FilledTemplate(
        component=component,
        template=template,
        digest=hashlib.sha256(data).hexdigest(),
        links=links,
        tensors=tensors,
        options=options,
        adapters=adapters,
        may_be_half=half,
        linear=frozenset(name for name in shapes if not reason_to_keep(name, shapes[name], uses.operators(name))),
        tables=frozenset(name for name in shapes if is_halved(shapes[name]) and uses.is_table(name)),
    )
