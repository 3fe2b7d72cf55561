"""The transformers of Chroma (lodestones) and AuraFlow (fal) in original names: names and configurations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..weights.pieces import Naming, Piece
from .component_configs import FLUX_AXES
from .transformer_names import bfl_flux, swapped
from .unet_names import unknown_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .header import Header

_CHROMA_LAYER = re.compile(r"distilled_guidance_layer\.(in_proj|out_proj|layers\.\d+\.linear_[12]|norms\.\d+)")
_CHROMA_PARTS = {"linear_1": "in_layer", "linear_2": "out_layer"}

_AURA_ENDS = {
    "context_embedder": "cond_seq_linear",
    "pos_embed.proj": "init_x_linear",
    "proj_out": "final_linear",
    "time_step_proj.linear_1": "t_embedder.mlp.0",
    "time_step_proj.linear_2": "t_embedder.mlp.2",
}
_AURA_TABLES = {"register_tokens": "register_tokens", "pos_embed.pos_embed": "positional_encoding"}
_AURA_FEED_FORWARD = {"linear_1": "c_fc1", "linear_2": "c_fc2", "out_projection": "c_proj"}
_AURA_OUTPUT = {"to_out.0": "o", "to_add_out": "o"}
_AURA_BLOCK = re.compile(r"(joint|single)_transformer_blocks\.(\d+)\.(.+)")
_AURA_ATTENTION = re.compile(r"attn\.(?:to_([qkv])|add_([qkv])_proj|(to_out\.0|to_add_out))")
_AURA_MLP = re.compile(r"(ff|ff_context)\.(linear_1|linear_2|out_projection)")

AURA_HEAD = 256  # width of a head; no tensor shows it
PATCH = 2  # width of a token of AuraFlow in latents


def chroma(config: Mapping[str, Any], prefix: str) -> Naming:
    """Return the original names of a Chroma transformer, which are FLUX.1's and those of one more network."""
    flux = bfl_flux(config, prefix)

    def naming(name: str) -> tuple[Piece, ...]:
        layer, _, kind = name.rpartition(".")
        if not (found := _CHROMA_LAYER.fullmatch(layer)):
            return flux(name)
        stem, _, last = layer.rpartition(".")
        if found[1].startswith("norms"):
            kind = "scale"
        return (Piece(f"{prefix}{stem}.{_CHROMA_PARTS.get(last, last)}.{kind}"),)

    return naming


def aura_flow(config: Mapping[str, Any], prefix: str) -> Naming:
    """Return the original names of an AuraFlow transformer.

    Its last modulation has the shift before the scale; diffusers' has the scale first.
    """
    width = config["num_attention_heads"] * config["attention_head_dim"]

    def naming(name: str) -> tuple[Piece, ...]:
        layer, _, kind = name.rpartition(".")
        if name in _AURA_TABLES:
            return (Piece(prefix + _AURA_TABLES[name]),)
        if layer in _AURA_ENDS:
            return (Piece(f"{prefix}{_AURA_ENDS[layer]}.{kind}"),)
        if layer == "norm_out.linear":
            return swapped(f"{prefix}modF.1.{kind}", width)
        block = _AURA_BLOCK.fullmatch(layer)
        stored = _aura_layer(block[3], joint=block[1] == "joint") if block else None
        if not block or not stored:
            raise unknown_parameter(name)
        list_ = "double_layers" if block[1] == "joint" else "single_layers"
        return (Piece(f"{prefix}{list_}.{block[2]}.{stored}.{kind}"),)

    return naming


def _aura_layer(layer: str, *, joint: bool) -> str | None:
    """Return a layer of a block for image (2) and text (1), or for both at once (1); None if it is not known."""
    if found := _AURA_ATTENTION.fullmatch(layer):
        own, added, output = found.groups()
        side = 2 if joint and (own or output == "to_out.0") else 1
        return f"attn.w{side}{own or added or _AURA_OUTPUT[output]}"
    if found := _AURA_MLP.fullmatch(layer):
        mlp = ("mlpC" if found[1] == "ff_context" else "mlpX") if joint else "mlp"
        return f"{mlp}.{_AURA_FEED_FORWARD[found[2]]}"
    names = {"norm1.linear": "modX.1", "norm1_context.linear": "modC.1"} if joint else {"norm1.linear": "modCX.1"}
    return names.get(layer)


def chroma_config(header: Header, prefix: str) -> dict[str, Any]:
    """Return the config.json of a Chroma transformer below `prefix`.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    width, channels = header.dims(f"{prefix}img_in.weight", 2)
    head = header.dims(f"{prefix}double_blocks.0.img_attn.norm.key_norm.scale", 1)[0]
    hidden, inputs = header.dims(f"{prefix}distilled_guidance_layer.in_proj.weight", 2)
    return {
        "_class_name": "ChromaTransformer2DModel",
        "patch_size": 1,
        "in_channels": channels,
        "num_layers": header.blocks(f"{prefix}double_blocks.{{}}.img_attn.qkv.weight"),
        "num_single_layers": header.blocks(f"{prefix}single_blocks.{{}}.linear1.weight"),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": header.dims(f"{prefix}txt_in.weight", 2)[1],
        "axes_dims_rope": list(FLUX_AXES),
        "approximator_num_channels": inputs,
        "approximator_hidden_dim": hidden,
        "approximator_layers": header.blocks(f"{prefix}distilled_guidance_layer.layers.{{}}.in_layer.weight"),
    }


def aura_flow_config(header: Header, prefix: str) -> dict[str, Any]:
    """Return the config.json of an AuraFlow transformer below `prefix`.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    _, places, width = header.dims(f"{prefix}positional_encoding", 3)
    projected, text = header.dims(f"{prefix}cond_seq_linear.weight", 2)
    return {
        "_class_name": "AuraFlowTransformer2DModel",
        "sample_size": 64,
        "patch_size": PATCH,
        "in_channels": header.dims(f"{prefix}init_x_linear.weight", 2)[1] // PATCH**2,
        "out_channels": header.dims(f"{prefix}final_linear.weight", 2)[0] // PATCH**2,
        "num_mmdit_layers": header.blocks(f"{prefix}double_layers.{{}}.attn.w2q.weight"),
        "num_single_dit_layers": header.blocks(f"{prefix}single_layers.{{}}.attn.w1q.weight"),
        "attention_head_dim": AURA_HEAD,
        "num_attention_heads": width // AURA_HEAD,
        "joint_attention_dim": text,
        "caption_projection_dim": projected,
        "pos_embed_max_size": places,
    }
