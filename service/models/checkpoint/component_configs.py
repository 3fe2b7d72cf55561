"""Configurations of text encoders, VAEs and transformers, from the names and shapes of their tensors.

What cannot be seen there is the same in all published models of an architecture.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .recognition import TIME_ZERO_MARKER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .header import Header

CLIP_HEAD = 64  # width of an attention head in CLIP-L, CLIP-H and CLIP-G
CLIP_VOCABULARY = 49408
FLUX2_AXES = 4  # the number of such axes of FLUX.2, of equal widths
FLUX_AXES = (16, 56, 56)  # widths of the rotary embedding for one position axis each; they fill a head


def hf_clip_config(
    header: Header, prefix: str, *, projected: bool, activation: str, root: str = "text_model."
) -> dict[str, Any]:
    """Return the config.json of a CLIP text encoder in transformers' names below `prefix`.

    `projected` is for the class with a projection. If the file has none, it is the identity.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    base, projection = prefix + root, f"{prefix}text_projection.weight"
    table = header.dims(f"{base}embeddings.token_embedding.weight", 2)
    return _clip_config(
        header,
        table,
        positions=header.dims(f"{base}embeddings.position_embedding.weight", 2)[0],
        inner=header.dims(f"{base}encoder.layers.0.mlp.fc1.weight", 2)[0],
        layers=header.blocks(f"{base}encoder.layers.{{}}.layer_norm1.weight"),
        projection=(header.dims(projection, 2)[0] if projection in header else table[1]) if projected else None,
        activation=activation,
    )


def open_clip_config(header: Header, prefix: str, *, projected: bool, layers: int) -> dict[str, Any]:
    """Return the config.json of a text encoder in OpenCLIP's names below `prefix`, of which `layers` are used.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    return _clip_config(
        header,
        header.dims(f"{prefix}token_embedding.weight", 2),
        positions=header.dims(f"{prefix}positional_embedding", 2)[0],
        inner=header.dims(f"{prefix}transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        layers=layers,
        projection=header.dims(f"{prefix}text_projection", 2)[1] if projected else None,
        activation="gelu",
    )


def open_clip_layers(header: Header, prefix: str) -> int:
    """Return the number of layers that are stored in OpenCLIP's names below `prefix`."""
    return header.blocks(f"{prefix}transformer.resblocks.{{}}.ln_1.weight")


def _clip_config(
    header: Header,
    table: tuple[int, ...],
    *,
    positions: int,
    inner: int,
    layers: int,
    projection: int | None,
    activation: str,
) -> dict[str, Any]:
    """Return the config.json of a CLIP text encoder; `table` is the shape of its token embeddings."""
    vocabulary, width = table
    if vocabulary != CLIP_VOCABULARY:
        raise header.fault(
            f"its text encoder must have {CLIP_VOCABULARY} tokens, as CLIP's tokenizer has; got {vocabulary}"
        )
    name = "CLIPTextModel" if projection is None else "CLIPTextModelWithProjection"
    return {
        "architectures": [name],
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // CLIP_HEAD),
        "hidden_act": activation,
        "projection_dim": projection or width,
        "layer_norm_eps": 1e-05,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        # Not CLIP's own: published configurations have 2, for which transformers takes the place of the highest id.
        "eos_token_id": 2,
        "pad_token_id": 1,
    }


def t5_config(header: Header, prefix: str, table: str) -> dict[str, Any]:
    """Return the config.json of a T5 v1.1 encoder below `prefix`, whose table of tokens is named `table`.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    block = f"{prefix}encoder.block.0.layer."
    vocabulary, width = header.dims(prefix + table, 2)
    buckets, heads = header.dims(f"{block}0.SelfAttention.relative_attention_bias.weight", 2)
    return {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": header.dims(f"{block}0.SelfAttention.q.weight", 2)[0] // heads,
        "d_ff": header.dims(f"{block}1.DenseReluDense.wi_0.weight", 2)[0],
        "num_heads": heads,
        "num_layers": header.blocks(f"{prefix}encoder.block.{{}}.layer.0.layer_norm.weight"),
        "num_decoder_layers": header.blocks(f"{prefix}encoder.block.{{}}.layer.0.layer_norm.weight"),
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "gated-gelu",
        "dense_act_fn": "gelu_new",
        "is_gated_act": True,
        "layer_norm_epsilon": 1e-06,
        "dropout_rate": 0.1,
        "is_encoder_decoder": True,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


def vae_config(header: Header, prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config.json of a VAE in original names below `prefix`; `values` are those of the model's kind.

    FLUX.2's has the statistics of its latents, and its decoder may be narrower than its encoder.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    decoder = f"{prefix}decoder."
    levels = header.blocks(f"{decoder}up.{{}}.block.0.norm1.weight")
    layers = header.blocks(f"{decoder}up.0.block.{{}}.norm1.weight") - 1
    if not levels or layers < 1:
        raise header.fault("its VAE has no blocks: it is damaged, or of an unknown architecture")
    own = _level_widths(header, f"{decoder}up", levels)
    normalized = f"{prefix}bn.running_mean" in header
    encoding = _level_widths(header, f"{prefix}encoder.down", levels) if normalized else own
    return {
        "_class_name": "AutoencoderKLFlux2" if normalized else "AutoencoderKL",
        "act_fn": "silu",
        "in_channels": 3,
        "out_channels": header.dims(f"{decoder}conv_out.weight", 4)[0],
        "latent_channels": header.dims(f"{decoder}conv_in.weight", 4)[1],
        "block_out_channels": encoding,
        **({"decoder_block_out_channels": own} if own != encoding else {}),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": layers,
        "norm_num_groups": 32,
        "mid_block_add_attention": f"{decoder}mid.attn_1.q.weight" in header,
        "use_quant_conv": _has_any(header, prefix, "quant_conv", "encoder.quant_conv"),
        "use_post_quant_conv": _has_any(header, prefix, "post_quant_conv", "decoder.post_quant_conv"),
        **values,
    }


def _level_widths(header: Header, levels: str, count: int) -> list[int]:
    """Return the channels of each level of one half of a VAE."""
    return [header.dims(f"{levels}.{level}.block.0.conv2.weight", 4)[0] for level in range(count)]


def _has_any(header: Header, prefix: str, *layers: str) -> bool:
    return any(f"{prefix}{layer}.weight" in header for layer in layers)


def flux_config(header: Header, prefix: str) -> dict[str, Any]:
    """Return the config.json of a FLUX.1 transformer in original names below `prefix`.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    width, channels = header.dims(f"{prefix}img_in.weight", 2)
    head = header.dims(f"{prefix}double_blocks.0.img_attn.norm.key_norm.scale", 1)[0]
    return {
        "_class_name": "FluxTransformer2DModel",
        "patch_size": 1,
        "in_channels": channels,
        "out_channels": header.dims(f"{prefix}final_layer.linear.weight", 2)[0],
        "num_layers": header.blocks(f"{prefix}double_blocks.{{}}.img_mod.lin.weight"),
        "num_single_layers": header.blocks(f"{prefix}single_blocks.{{}}.modulation.lin.weight"),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": header.dims(f"{prefix}txt_in.weight", 2)[1],
        "pooled_projection_dim": header.dims(f"{prefix}vector_in.in_layer.weight", 2)[1],
        "guidance_embeds": f"{prefix}guidance_in.in_layer.weight" in header,
        "axes_dims_rope": list(FLUX_AXES),
    }


def flux2_config(header: Header, prefix: str) -> dict[str, Any]:
    """Return the config.json of a FLUX.2 transformer in original names below `prefix`.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    width, channels = header.dims(f"{prefix}img_in.weight", 2)
    head = header.dims(f"{prefix}double_blocks.0.img_attn.norm.key_norm.scale", 1)[0]
    return {
        "_class_name": "Flux2Transformer2DModel",
        "patch_size": 1,
        "in_channels": channels,
        "num_layers": header.blocks(f"{prefix}double_blocks.{{}}.img_attn.qkv.weight"),
        "num_single_layers": header.blocks(f"{prefix}single_blocks.{{}}.linear1.weight"),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": header.dims(f"{prefix}txt_in.weight", 2)[1],
        "timestep_guidance_channels": header.dims(f"{prefix}time_in.in_layer.weight", 2)[1],
        "mlp_ratio": header.dims(f"{prefix}double_blocks.0.img_mlp.2.weight", 2)[1] / width,
        "axes_dims_rope": [head // FLUX2_AXES] * FLUX2_AXES,
        "rope_theta": 2000,
        "guidance_embeds": f"{prefix}guidance_in.in_layer.weight" in header,
    }


def qwen_config(header: Header, prefix: str) -> dict[str, Any]:
    """Return the config.json of a Qwen-Image transformer, whose names are those of diffusers, below `prefix`.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    width, channels = header.dims(f"{prefix}img_in.weight", 2)
    head = header.dims(f"{prefix}transformer_blocks.0.attn.norm_q.weight", 1)[0]
    side = (head - head // 8) // 2
    return {
        "_class_name": "QwenImageTransformer2DModel",
        "patch_size": 2,
        "in_channels": channels,
        "out_channels": header.dims(f"{prefix}proj_out.weight", 2)[0] // 4,
        "num_layers": header.blocks(f"{prefix}transformer_blocks.{{}}.img_mod.1.weight"),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": header.dims(f"{prefix}txt_in.weight", 2)[1],
        "axes_dims_rope": [head // 8, side, side],
        "zero_cond_t": prefix + TIME_ZERO_MARKER in header,
    }


def sd3_config(header: Header, prefix: str) -> dict[str, Any]:
    """Return the config.json of a Stable Diffusion 3 transformer in original names below `prefix`.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    width, channels, patch, _ = header.dims(f"{prefix}x_embedder.proj.weight", 4)
    places = header.dims(f"{prefix}pos_embed", 3)[1]
    normed = f"{prefix}joint_blocks.0.x_block.attn.ln_q.weight"
    head = header.dims(normed, 1)[0] if normed in header else 64
    layers = header.blocks(f"{prefix}joint_blocks.{{}}.x_block.attn.qkv.weight")
    dual = [n for n in range(layers) if f"{prefix}joint_blocks.{n}.x_block.attn2.qkv.weight" in header]
    return {
        "_class_name": "SD3Transformer2DModel",
        "sample_size": 128,
        "patch_size": patch,
        "in_channels": channels,
        "out_channels": channels,
        "num_layers": layers,
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": header.dims(f"{prefix}context_embedder.weight", 2)[1],
        "caption_projection_dim": header.dims(f"{prefix}context_embedder.weight", 2)[0],
        "pooled_projection_dim": header.dims(f"{prefix}y_embedder.mlp.0.weight", 2)[1],
        "pos_embed_max_size": math.isqrt(places),
        "qk_norm": "rms_norm" if normed in header else None,
        "dual_attention_layers": dual,
    }
