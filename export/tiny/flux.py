"""Random pipelines of FLUX.1: schnell, dev, Kontext, Fill, and Chroma."""

from __future__ import annotations

from typing import Any

import diffusers

from . import tokenizers
from .parts import WIDTH, autoencoder, clip_text_encoder, enlarge, t5_text_encoder


def flux_schnell() -> diffusers.FluxPipeline:
    """FLUX.1 schnell: distilled to few steps, without guidance."""
    noise = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0)
    return diffusers.FluxPipeline(**_parts(_transformer(guidance=False), noise))


def flux_dev() -> diffusers.FluxPipeline:
    """FLUX.1 dev: guidance is an input, and the noise shift depends on the image's size."""
    return diffusers.FluxPipeline(**_parts(_transformer(), shifted_by_size()))


def flux_kontext() -> diffusers.FluxKontextPipeline:
    """FLUX.1 Kontext: the architecture of dev, with the tokens of an image to edit behind those of the result."""
    wide = _transformer(attention_head_dim=20, num_attention_heads=3, axes_dims_rope=(4, 8, 8))
    enlarge(wide, {"norm_q": 3.0, "to_v": 3.0})  # so that the image to edit changes the result visibly
    return diffusers.FluxKontextPipeline(**_parts(wide, shifted_by_size()))


def flux_fill() -> diffusers.FluxFillPipeline:
    """FLUX.1 Fill: the latents of the masked image and 8 x 8 values of the mask follow each latent."""
    wide = _transformer(in_channels=384, out_channels=64, attention_head_dim=12, axes_dims_rope=(4, 4, 4))
    return diffusers.FluxFillPipeline(**_parts(wide, shifted_by_size()))


def chroma() -> diffusers.ChromaPipeline:
    """Chroma: T5 alone, and a small network in place of the modulation of each layer."""
    tokenizer = tokenizers.t5()
    transformer = diffusers.ChromaTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=20,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 8, 8),
        approximator_num_channels=32,
        approximator_hidden_dim=24,
        approximator_layers=2,
    )
    enlarge(transformer, {"distilled_guidance_layer": 1.4})
    return diffusers.ChromaPipeline(
        scheduler=shifted_by_size(),
        vae=autoencoder(channels=16, scaling=0.3611, shift=0.1159, quant_convs=False),
        text_encoder=t5_text_encoder(len(tokenizer)),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
    )


def shifted_by_size() -> diffusers.FlowMatchEulerDiscreteScheduler:
    """Flow matching whose noise shift depends on the image's size, as published for FLUX.1 dev."""
    return diffusers.FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


def _transformer(*, guidance: bool = True, **options: Any) -> diffusers.FluxTransformer2DModel:
    shape: dict[str, Any] = {
        "patch_size": 1,
        "in_channels": 64,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": WIDTH,
        "pooled_projection_dim": WIDTH,
        "axes_dims_rope": (4, 4, 8),
        "guidance_embeds": guidance,
    }
    return diffusers.FluxTransformer2DModel(**shape | options).eval()


def _parts(transformer: diffusers.FluxTransformer2DModel, noise: Any) -> dict[str, Any]:
    first, second = tokenizers.clip(), tokenizers.t5()
    return {
        "scheduler": noise,
        "vae": autoencoder(channels=16, scaling=0.3611, shift=0.1159, quant_convs=False),
        "text_encoder": clip_text_encoder(len(first)),
        "tokenizer": first,
        "text_encoder_2": t5_text_encoder(len(second)),
        "tokenizer_2": second,
        "transformer": transformer,
    }
