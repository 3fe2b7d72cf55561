"""Parts of random pipelines: text encoders, autoencoders and UNets of a few thousand weights each.

Depths and widths are small. Settings that change the structure of the graph equal those of published models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers

if TYPE_CHECKING:
    from collections.abc import Mapping

# Width of the first text encoder, and the default of the others.
WIDTH = 32


def clip_text_encoder(tokens: int, *, width: int = WIDTH, activation: str = "quick_gelu", pooled: int = 0) -> Any:
    """CLIP with three layers, and with a projection of the pooled text if `pooled`.

    `eos_token_id=2` is wrong, but it is the value in the published models.
    """
    config = transformers.CLIPTextConfig(
        vocab_size=tokens,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act=activation,
        projection_dim=pooled or width,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    kind = transformers.CLIPTextModelWithProjection if pooled else transformers.CLIPTextModel
    return kind(config).eval()


def t5_text_encoder(tokens: int, *, width: int = WIDTH) -> transformers.T5EncoderModel:
    """T5 1.1 with two layers and gated GELU."""
    config = transformers.T5Config(
        vocab_size=tokens,
        d_model=width,
        d_kv=8,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=32,
    )
    return transformers.T5EncoderModel(config).eval()


def umt5_text_encoder(tokens: int, *, width: int = WIDTH) -> transformers.UMT5EncoderModel:
    """UMT5 with two layers, each with its own position bias, and gated GELU."""
    config = transformers.UMT5Config(
        vocab_size=tokens,
        d_model=width,
        d_kv=8,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=32,
    )
    return transformers.UMT5EncoderModel(config).eval()


def gemma_text_encoder(tokens: int) -> transformers.Gemma2Model:
    """Gemma 2 with two layers, the first with a sliding window, and two queries per key."""
    config = transformers.Gemma2Config(
        vocab_size=tokens,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=8192,
        sliding_window=4096,
        query_pre_attn_scalar=8,
    )
    return transformers.Gemma2Model(config).eval()


def autoencoder(
    *, scaling: float = 0.18215, shift: float | None = None, channels: int = 4, quant_convs: bool = True, **options: Any
) -> diffusers.AutoencoderKL:
    """AutoencoderKL with four levels, as published: latents have an eighth of the image's size."""
    vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=8,
        sample_size=128,
        scaling_factor=scaling,
        shift_factor=shift,
        use_quant_conv=quant_convs,
        use_post_quant_conv=quant_convs,
        **options,
    )
    return vae.eval()


def enlarge(module: torch.nn.Module, gains: Mapping[str, float]) -> None:
    """Scale the parameters whose names contain a layer's by its factor, in place."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.mul_(next((gain for layer, gain in gains.items() if layer in name), 1.0))


def deep_autoencoder() -> diffusers.AutoencoderDC:
    """AutoencoderDC with four levels, the lower two with linear attention; it encodes without a distribution."""
    levels = {
        "block_types": ("ResBlock", "ResBlock", "EfficientViTBlock", "EfficientViTBlock"),
        "block_out_channels": (16, 16, 16, 16),
        "qkv_multiscales": ((), (), (5,), (5,)),
        "layers_per_block": (1, 1, 1, 1),
    }
    vae = diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=8,
        downsample_block_type="Conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
        **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in levels.items()},
    )
    return vae.eval()


def unet(**options: Any) -> diffusers.UNet2DConditionModel:
    """UNet with two levels and attention on the lower one; `options` override the shape."""
    shape = {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
    }
    return diffusers.UNet2DConditionModel(**{**shape, **options}).eval()
