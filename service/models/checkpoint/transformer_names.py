"""Original names of tensors in the transformers of FLUX (Black Forest Labs) and Stable Diffusion 3 (Stability AI).

All join query, key and value as rows of one tensor. Their last modulation has the shift before the scale; diffusers'
has the scale first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..weights.pieces import Naming, Piece
from .unet_names import unknown_parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    _LayerOf = Callable[[str, str, int], Piece | None]

_FLUX_ENDS = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "proj_out": "final_layer.linear",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
}
_FLUX_DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
# Norms, which have a `scale` instead of a `weight`.
_FLUX_NORMS = {
    "transformer_blocks.attn.norm_q": "img_attn.norm.query_norm",
    "transformer_blocks.attn.norm_k": "img_attn.norm.key_norm",
    "transformer_blocks.attn.norm_added_q": "txt_attn.norm.query_norm",
    "transformer_blocks.attn.norm_added_k": "txt_attn.norm.key_norm",
    "single_transformer_blocks.attn.norm_q": "norm.query_norm",
    "single_transformer_blocks.attn.norm_k": "norm.key_norm",
}
_FLUX_SINGLE = {"norm.linear": "modulation.lin", "proj_out": "linear2"}
_FLUX_MLP = 4  # width of a block's MLP, divided by the block's

_FLUX2_ENDS = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "proj_out": "final_layer.linear",
    "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_guidance_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_guidance_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "double_stream_modulation_img.linear": "double_stream_modulation_img.lin",
    "double_stream_modulation_txt.linear": "double_stream_modulation_txt.lin",
    "single_stream_modulation.linear": "single_stream_modulation.lin",
}
_FLUX2_DOUBLE = {
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.linear_in": "img_mlp.0",
    "ff.linear_out": "img_mlp.2",
    "ff_context.linear_in": "txt_mlp.0",
    "ff_context.linear_out": "txt_mlp.2",
}
_FLUX2_SINGLE = {"attn.to_qkv_mlp_proj": "linear1", "attn.to_out": "linear2"}

_SD3_ENDS = {
    "pos_embed.proj": "x_embedder.proj",
    "context_embedder": "context_embedder",
    "proj_out": "final_layer.linear",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
}
_SD3_BLOCK = {
    "norm1.linear": "x_block.adaLN_modulation.1",
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn.to_out.0": "x_block.attn.proj",
    "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k",
    "attn2.to_out.0": "x_block.attn2.proj",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "attn.to_add_out": "context_block.attn.proj",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}

_BLOCK = re.compile(r"((?:single_)?transformer_blocks)\.(\d+)\.(.+)")
_JOINED = re.compile(r"(attn2?)\.(?:to_([qkv])|add_([qkv])_proj)")


def bfl_flux(config: Mapping[str, Any], prefix: str) -> Naming:
    """Return the original names of a FLUX.1 transformer with this config.json, below `prefix`."""
    return _bfl(config, prefix, _FLUX_ENDS, _FLUX_DOUBLE, _flux_single)


def bfl_flux2(config: Mapping[str, Any], prefix: str) -> Naming:
    """Return the original names of a FLUX.2 transformer with this config.json, below `prefix`."""
    return _bfl(config, prefix, _FLUX2_ENDS, _FLUX2_DOUBLE, _flux2_single)


def _bfl(
    config: Mapping[str, Any], prefix: str, ends: Mapping[str, str], double: Mapping[str, str], single: _LayerOf
) -> Naming:
    """Return Black Forest Labs' names: `ends` outside blocks, `double` and `single` in those of both kinds."""
    width = config["num_attention_heads"] * config["attention_head_dim"]

    def naming(name: str) -> tuple[Piece, ...]:
        layer, _, kind = name.rpartition(".")
        if layer in ends:
            return (Piece(f"{prefix}{ends[layer]}.{kind}"),)
        if layer == "norm_out.linear":
            return swapped(f"{prefix}final_layer.adaLN_modulation.1.{kind}", width)
        if found := _BLOCK.fullmatch(layer):
            list_, number, rest = found.groups()
            is_double = list_ == "transformer_blocks"
            block = f"{prefix}{'double' if is_double else 'single'}_blocks.{number}."
            if norm := _FLUX_NORMS.get(f"{list_}.{rest}"):
                return (Piece(f"{block}{norm}.scale"),)
            piece = _double_layer(rest, kind, width, double) if is_double else single(rest, kind, width)
            if piece:
                return (piece._replace(name=block + piece.name),)
        raise unknown_parameter(name)

    return naming


def _flux2_single(layer: str, kind: str, _: int) -> Piece | None:
    """Return a layer of a block for both at once, which is joined in diffusers as well; None if it is not known."""
    return Piece(f"{_FLUX2_SINGLE[layer]}.{kind}") if layer in _FLUX2_SINGLE else None


def _double_layer(layer: str, kind: str, width: int, names: Mapping[str, str]) -> Piece | None:
    """Return a layer of a block for image and text; None if it is not known."""
    if joined := _JOINED.fullmatch(layer):
        return _rows(f"{'img' if joined[2] else 'txt'}_attn.qkv.{kind}", joined[2] or joined[3], width)
    return Piece(f"{names[layer]}.{kind}") if layer in names else None


def _flux_single(layer: str, kind: str, width: int) -> Piece | None:
    """Return a layer of a block for both at once, whose MLP is joined to its attention; None if it is not known."""
    if joined := _JOINED.fullmatch(layer):
        return _rows(f"linear1.{kind}", joined[2] or joined[3], width)
    if layer == "proj_mlp":
        return Piece(f"linear1.{kind}", 3 * width, (3 + _FLUX_MLP) * width)
    return Piece(f"{_FLUX_SINGLE[layer]}.{kind}") if layer in _FLUX_SINGLE else None


def sd3(config: Mapping[str, Any], prefix: str) -> Naming:
    """Return the original names of a Stable Diffusion 3 transformer with this config.json, below `prefix`."""
    width = config["num_attention_heads"] * config["attention_head_dim"]
    last = str(config["num_layers"] - 1)

    def naming(name: str) -> tuple[Piece, ...]:
        layer, _, kind = name.rpartition(".")
        if name == "pos_embed.pos_embed":
            return (Piece(f"{prefix}pos_embed"),)
        if layer in _SD3_ENDS:
            return (Piece(f"{prefix}{_SD3_ENDS[layer]}.{kind}"),)
        if layer == "norm_out.linear":
            return swapped(f"{prefix}final_layer.adaLN_modulation.1.{kind}", width)
        if not (found := _BLOCK.fullmatch(layer)) or found[1] != "transformer_blocks":
            raise unknown_parameter(name)
        number, rest = found[2], found[3]
        block = f"{prefix}joint_blocks.{number}."
        if joined := _JOINED.fullmatch(rest):
            side = "x" if joined[2] else "context"
            return (_rows(f"{block}{side}_block.{joined[1]}.qkv.{kind}", joined[2] or joined[3], width),)
        if rest not in _SD3_BLOCK:
            raise unknown_parameter(name)
        stored = f"{block}{_SD3_BLOCK[rest]}.{kind}"
        # The last block leaves the text as it is, so it has one shift and one scale for it.
        return swapped(stored, width) if (rest, number) == ("norm1_context.linear", last) else (Piece(stored),)

    return naming


def _rows(name: str, part: str, width: int) -> Piece:
    """Return the rows of query, key or value in a joined tensor."""
    first = "qkv".index(part) * width
    return Piece(name, first, first + width)


def swapped(name: str, width: int) -> tuple[Piece, Piece]:
    """Return the second half of a tensor, then the first, of `width` rows each."""
    return Piece(name, width, 2 * width), Piece(name, 0, width)
