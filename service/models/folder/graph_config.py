"""Configurations that are derived from graphs, for folders that lack them.

Each function returns the fields that a component's config.json would have, as far as its graph states them; the reader
takes the others from the family. A file, if there is one, is read in place of what is derived here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..families.table import FAMILIES
from ..files import ModelFileError
from .layout import ABSENT

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet

    from .graph_facts import GraphFacts

PROMPT, POOLED, LATENTS = "encoder_hidden_states", "pooled_projections", "latent_sample"
LATENT_TOKENS, MASK = "hidden_states", "encoder_attention_mask"
RGB = 3
PACKED_AXES = 3  # of latents that are fed as tokens [n, tokens, channels]
CONVOLUTIONS = ("Conv", "NhwcConv", "FusedConv", "NhwcFusedConv")
RESIZERS = ("Resize", "Upsample")
SANA_CHANNELS = 32
FIRST_ENCODER = "text_encoder"  # the folder, which only SDXL's second stage lacks
SCORED_SIZES = 5  # numbers of `time_ids` with an aesthetic score; otherwise six
FILL_CHANNELS = 384  # of latents, those of the masked image, and the mask
# Inputs of a transformer, in addition to timestep and text -> its family.
TRANSFORMERS = {
    frozenset({LATENT_TOKENS}): "aura_flow",
    frozenset({LATENT_TOKENS, POOLED}): "sd3",
    frozenset({LATENT_TOKENS, MASK, "img_ids", "txt_ids"}): "chroma",
    frozenset({LATENT_TOKENS, MASK, "resolution", "aspect_ratio"}): "pixart_alpha",
}


def denoiser_config(facts: GraphFacts) -> dict[str, Any]:
    """Return the fields of the denoiser's config.json."""
    latents = "sample" if "sample" in facts.inputs else "hidden_states"
    packed = latents in facts.inputs and len(facts.inputs[latents].shape) == PACKED_AXES
    return _known(
        in_channels=_input_width(facts, latents) if packed else _channels(facts, latents),
        sample_size=None if packed else _side(facts, latents),
        down_block_types=_levels(facts),
        time_cond_proj_dim=_input_width(facts, "timestep_cond"),
        guidance_embeds="guidance" in facts.inputs or None,
        **{"joint_attention_dim" if POOLED in facts.inputs else "cross_attention_dim": _input_width(facts, PROMPT)},
    )


def decoder_config(facts: GraphFacts) -> dict[str, Any]:
    """Return the fields of the VAE's config.json."""
    last = facts.last_layer(facts.outputs[0]) if facts.outputs else None
    # A decoder that ends otherwise also enlarges by rearranging channels.
    plain = last is not None and last[0].operator in CONVOLUTIONS and last[1].shape[0] == RGB
    return _known(latent_channels=_channels(facts, LATENTS), block_out_channels=_levels(facts) if plain else None)


def encoder_config(facts: GraphFacts) -> dict[str, Any]:
    """Return the fields of a text encoder's config.json."""
    tables = (weight.shape[0] for node, weight in facts.layers("input_ids") if node.operator == "Gather")
    return _known(vocab_size=next(tables, None), max_position_embeddings=facts.width("input_ids"))


def index_of(denoiser: str, facts: GraphFacts, components: Collection[str]) -> dict[str, Any]:
    """Return the fields of model_index.json.

    Args:
        denoiser: The denoiser's folder, `unet` or `transformer`.
        facts: Its graph's facts.
        components: The folders that hold graphs.

    Raises:
        ModelFileError: the graphs fit no family.
    """
    name = _family_name(denoiser, facts, components)
    family = FAMILIES.get(name)
    if family is None:
        found = f"a {denoiser} with the inputs {', '.join(facts.inputs)} and the graphs {', '.join(sorted(components))}"
        raise ModelFileError(
            f"model_index.json is missing, and {found} fit no family; name one in tintype.json: {', '.join(FAMILIES)}"
        )
    index: dict[str, Any] = {"_class_name": family.pipelines[0]}
    if FIRST_ENCODER in (encoder.encoder for encoder in family.text_encoders):
        return index
    scored = facts.width("time_ids") == SCORED_SIZES
    return index | {FIRST_ENCODER: ABSENT, "requires_aesthetics_score": scored, "force_zeros_for_empty_prompt": False}


def _family_name(denoiser: str, facts: GraphFacts, components: Collection[str]) -> str:
    """Return the family whose denoiser has these inputs; empty if there is none, or more than one."""
    inputs = facts.inputs.keys() - {"timestep", PROMPT}
    if denoiser != "unet":
        return _transformer_family(facts, inputs)
    if inputs == {"sample", "text_embeds", "time_ids"}:
        whole = FIRST_ENCODER in components and facts.width("time_ids") != SCORED_SIZES
        return "sdxl" if whole else "sdxl_refiner"
    return {frozenset({"sample"}): "sd", frozenset({"sample", "timestep_cond"}): "lcm"}.get(frozenset(inputs), "")


def _transformer_family(facts: GraphFacts, inputs: AbstractSet[str]) -> str:
    """Return the family of a transformer with these inputs, in addition to timestep and text."""
    if inputs >= {LATENT_TOKENS, POOLED, "img_ids"}:
        return "flux_fill" if _input_width(facts, LATENT_TOKENS) == FILL_CHANNELS else "flux"
    if inputs == {LATENT_TOKENS, MASK}:
        return {4: "pixart_sigma", SANA_CHANNELS: "sana"}.get(_channels(facts, LATENT_TOKENS) or 0, "")
    return TRANSFORMERS.get(frozenset(inputs), "") if PROMPT in facts.inputs else ""


def _channels(facts: GraphFacts, name: str) -> int | None:
    """Return the channels of an input [n, c, h, w]: its fixed axis, otherwise those that its first layer reads.

    Legacy exports leave the channels free. A convolution's weight is [out, in, h, w]; in NHWC, [out, h, w, in].
    """
    fixed = facts.width(name, 1)
    layers = ((node.operator, weight.shape) for node, weight in facts.layers(name) if node.operator in CONVOLUTIONS)
    read = (shape[-1] if operator.startswith("Nhwc") else shape[1] for operator, shape in layers)
    return fixed or next(read, None)


def _side(facts: GraphFacts, name: str) -> int | None:
    """Return height and width of an input [n, c, h, w], if they are fixed and equal."""
    height, width = facts.width(name, 2), facts.width(name, 3)
    return height if height == width else None


def _input_width(facts: GraphFacts, name: str) -> int | None:
    """Return the last axis of an input: fixed, otherwise what its first matrix product reads."""
    products = (weight.shape[0] for node, weight in facts.layers(name) if node.operator == "MatMul")
    return facts.width(name) or next(products, None)


def _levels(facts: GraphFacts) -> list[str] | None:
    """Return one element for each level of a UNet or a VAE; between two levels the graph doubles the size."""
    resizes = facts.count(*RESIZERS)
    return ["?"] * (resizes + 1) if resizes else None


def _known(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
