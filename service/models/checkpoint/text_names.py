"""Stored names of tensors in text encoders: those of transformers behind a prefix, and those of OpenCLIP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..weights.pieces import Naming, Piece
from .unet_names import unknown_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPEN_CLIP_ENDS = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}
_OPEN_CLIP_LAYERS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_OPEN_CLIP_LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_JOINED = re.compile(r"self_attn\.([qkv])_proj")
T5_TABLES = ("shared.weight", "encoder.embed_tokens.weight")  # names of one tensor; a file has either or both


def prefixed(prefix: str, *, drop: str = "") -> Naming:
    """Return the names of transformers behind `prefix`, without `drop` at their beginning."""
    return lambda name: (Piece(prefix + name.removeprefix(drop)),)


def open_clip(config: Mapping[str, Any], prefix: str) -> Naming:
    """Return OpenCLIP's names of a text encoder with this config.json, below `prefix`.

    Query, key and value are rows of one tensor. The projection is stored as its transpose.
    """
    width = config["hidden_size"]

    def naming(name: str) -> tuple[Piece, ...]:
        if name in _OPEN_CLIP_ENDS:
            return (Piece(prefix + _OPEN_CLIP_ENDS[name]),)
        if name == "text_projection.weight":
            return (Piece(f"{prefix}text_projection", transposed=True),)
        if not (found := _OPEN_CLIP_LAYER.fullmatch(name)):
            raise unknown_parameter(name)
        number, layer, kind = found.groups()
        block = f"{prefix}transformer.resblocks.{number}."
        if joined := _JOINED.fullmatch(layer):
            first = "qkv".index(joined[1]) * width
            return (Piece(f"{block}attn.in_proj_{kind}", first, first + width),)
        if layer not in _OPEN_CLIP_LAYERS:
            raise unknown_parameter(name)
        return (Piece(f"{block}{_OPEN_CLIP_LAYERS[layer]}.{kind}"),)

    return naming
