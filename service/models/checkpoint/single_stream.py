"""Z-Image (Tongyi-MAI) and Lumina-Image 2 (Alpha-VLLM): original names of their tensors, and configurations from these.

Both are transformers over one sequence of text and image tokens, and join query, key and value as rows of one tensor.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..weights.pieces import Naming, Piece
from .unet_names import unknown_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .header import Header

UNUSED = "norm_final."  # a norm that no code of either model reads
# Widths of the rotary embedding for one position axis each; they fill a head of 128 and of 96 numbers.
Z_IMAGE_AXES = (32, 48, 48)
LUMINA2_AXES = (32, 32, 32)
PATCH = 2
MLP_MULTIPLE = 256

_NORMS = ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2")
# Beginnings of names outside blocks, and layers of a block, in diffusers -> in the file.
_Z_IMAGE_ENDS = {
    "all_x_embedder.2-1.": "x_embedder.",
    "all_final_layer.2-1.": "final_layer.",
    **{name: name for name in ("cap_embedder.", "t_embedder.mlp.", "x_pad_token", "cap_pad_token")},
}
_Z_IMAGE_LAYERS = {
    "attention.to_out.0": "attention.out",
    "attention.norm_q": "attention.q_norm",
    "attention.norm_k": "attention.k_norm",
    **{name: name for name in (*_NORMS, "adaLN_modulation.0", *(f"feed_forward.w{n}" for n in (1, 2, 3)))},
}
_LUMINA2_ENDS = {
    "x_embedder.": "x_embedder.",
    "time_caption_embed.caption_embedder.": "cap_embedder.",
    "time_caption_embed.timestep_embedder.linear_1.": "t_embedder.mlp.0.",
    "time_caption_embed.timestep_embedder.linear_2.": "t_embedder.mlp.2.",
    "norm_out.linear_1.": "final_layer.adaLN_modulation.1.",
    "norm_out.linear_2.": "final_layer.linear.",
}
_LUMINA2_LAYERS = {
    "attn.to_out.0": "attention.out",
    "attn.norm_q": "attention.q_norm",
    "attn.norm_k": "attention.k_norm",
    "norm1.linear": "adaLN_modulation.1",
    "norm1.norm": "attention_norm1",
    "norm1": "attention_norm1",  # of text, which no time modulates
    "norm2": "attention_norm2",
    "ffn_norm1": "ffn_norm1",
    "ffn_norm2": "ffn_norm2",
    **{f"feed_forward.linear_{n}": f"feed_forward.w{n}" for n in (1, 2, 3)},
}
_BLOCK = re.compile(r"((?:layers|noise_refiner|context_refiner)\.\d+\.)(.+)\.(weight|bias)")
_JOINED = re.compile(r"attn\.to_([qkv])|attention\.to_([qkv])")


def z_image(config: Mapping[str, Any], prefix: str) -> Naming:
    """Return the original names of a Z-Image transformer with this config.json, below `prefix`."""
    return _single_stream(prefix, _Z_IMAGE_ENDS, _Z_IMAGE_LAYERS, (config["dim"], config["dim"]))


def lumina2(config: Mapping[str, Any], prefix: str) -> Naming:
    """Return the original names of a Lumina-Image 2 transformer with this config.json, below `prefix`."""
    width, heads = config["hidden_size"], config["num_attention_heads"]
    own = width, width // heads * config["num_kv_heads"]
    return _single_stream(prefix, _LUMINA2_ENDS, _LUMINA2_LAYERS, own)


def _single_stream(prefix: str, ends: Mapping[str, str], layers: Mapping[str, str], widths: tuple[int, int]) -> Naming:
    """Return original names below `prefix`; `widths` are the rows of a query, and of a key."""
    query, key = widths
    rows = {"q": (0, query), "k": (query, query + key), "v": (query + key, query + 2 * key)}

    def naming(name: str) -> tuple[Piece, ...]:
        if end := next((end for end in ends if name.startswith(end)), ""):
            return (Piece(prefix + ends[end] + name.removeprefix(end)),)
        block, layer, kind = found.groups() if (found := _BLOCK.fullmatch(name)) else ("", "", "")
        if joined := _JOINED.fullmatch(layer):
            return (Piece(f"{prefix}{block}attention.qkv.{kind}", *rows[joined[1] or joined[2]]),)
        if layer not in layers:
            raise unknown_parameter(name)
        return (Piece(f"{prefix}{block}{layers[layer]}.{kind}"),)

    return naming


def z_image_config(header: Header, prefix: str) -> dict[str, Any]:
    """Return the config.json of a Z-Image transformer in original names below `prefix`.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    width, values = header.dims(f"{prefix}x_embedder.weight", 2)
    head = header.dims(f"{prefix}layers.0.attention.q_norm.weight", 1)[0]
    return {
        "_class_name": "ZImageTransformer2DModel",
        "all_patch_size": [PATCH],
        "all_f_patch_size": [1],
        "in_channels": values // PATCH**2,
        "dim": width,
        "n_layers": header.blocks(f"{prefix}layers.{{}}.attention.qkv.weight"),
        "n_refiner_layers": header.blocks(f"{prefix}noise_refiner.{{}}.attention.qkv.weight"),
        "n_heads": width // head,
        "cap_feat_dim": header.dims(f"{prefix}cap_embedder.1.weight", 2)[1],
        "axes_dims": list(Z_IMAGE_AXES),
    }


def lumina2_config(header: Header, prefix: str) -> dict[str, Any]:
    """Return the config.json of a Lumina-Image 2 transformer in original names below `prefix`.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    width, values = header.dims(f"{prefix}x_embedder.weight", 2)
    head = header.dims(f"{prefix}layers.0.attention.q_norm.weight", 1)[0]
    joined = header.dims(f"{prefix}layers.0.attention.qkv.weight", 2)[0]
    return {
        "_class_name": "Lumina2Transformer2DModel",
        "patch_size": PATCH,
        "in_channels": values // PATCH**2,
        "hidden_size": width,
        "num_layers": header.blocks(f"{prefix}layers.{{}}.attention.qkv.weight"),
        "num_refiner_layers": header.blocks(f"{prefix}noise_refiner.{{}}.attention.qkv.weight"),
        "num_attention_heads": width // head,
        "num_kv_heads": (joined - width) // 2 // head,
        "multiple_of": MLP_MULTIPLE,
        "axes_dim_rope": list(LUMINA2_AXES),
        "cap_feat_dim": header.dims(f"{prefix}cap_embedder.1.weight", 2)[1],
    }
