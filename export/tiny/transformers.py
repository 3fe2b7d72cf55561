"""Random pipelines with a transformer as the denoiser: Stable Diffusion 3, PixArt, AuraFlow and Sana."""

from __future__ import annotations

from typing import Any

import diffusers

from . import tokenizers
from .parts import (
    WIDTH,
    autoencoder,
    clip_text_encoder,
    deep_autoencoder,
    enlarge,
    gemma_text_encoder,
    t5_text_encoder,
    umt5_text_encoder,
)


def sd3() -> diffusers.StableDiffusion3Pipeline:
    """Stable Diffusion 3: three text encoders, flow matching."""
    return _sd3()


def sd35() -> diffusers.StableDiffusion3Pipeline:
    """Stable Diffusion 3.5: queries and keys are normalised, and one block has dual attention to the image."""
    return _sd3(qk_norm="rms_norm", dual_attention_layers=(0,))


def pixart_sigma() -> diffusers.PixArtSigmaPipeline:
    """PixArt-Sigma: T5 with masked padding; the denoiser outputs an unused variance after the prediction."""
    tokenizer = tokenizers.t5()
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=16,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_channels=WIDTH,
        in_channels=4,
        cross_attention_dim=32,
        out_channels=8,
        use_additional_conditions=False,
    )
    noise = diffusers.DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear")
    return diffusers.PixArtSigmaPipeline(
        tokenizer=tokenizer,
        text_encoder=t5_text_encoder(len(tokenizer)),
        vae=autoencoder(scaling=0.13025),
        transformer=transformer.eval(),
        scheduler=noise,
    )


def pixart_alpha() -> diffusers.PixArtAlphaPipeline:
    """PixArt-alpha for 1024 pixels: the size of the image is an input of the denoiser."""
    tokenizer = tokenizers.t5()
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=128,
        num_layers=2,
        patch_size=2,
        attention_head_dim=12,
        num_attention_heads=4,
        caption_channels=WIDTH,
        in_channels=4,
        cross_attention_dim=48,
        out_channels=8,
    )
    noise = diffusers.DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear")
    return diffusers.PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=t5_text_encoder(len(tokenizer)),
        vae=autoencoder(),
        transformer=transformer.eval(),
        scheduler=noise,
    )


def aura_flow() -> diffusers.AuraFlowPipeline:
    """AuraFlow: UMT5 with masked padding, learnt positions, and flow matching with a fixed shift."""
    tokenizer = tokenizers.llama()
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=16,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        caption_projection_dim=32,
        pos_embed_max_size=32**2,
    )
    enlarge(transformer, {"norm1": 4.0, "time_step_proj": 2.0, "to_v": 3.0, "proj_out": 6.0})
    return diffusers.AuraFlowPipeline(
        tokenizer=tokenizer,
        text_encoder=umt5_text_encoder(len(tokenizer)),
        vae=autoencoder(scaling=0.13025),
        transformer=transformer.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=1.73),
    )


def sana() -> diffusers.SanaPipeline:
    """Sana: Gemma, linear attention, an autoencoder without a distribution, flow matching with DPM-Solver."""
    noise = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return diffusers.SanaPipeline(**_sana_parts(), scheduler=noise)


def sana_sprint() -> diffusers.SanaSprintPipeline:
    """SANA-Sprint: a consistency model with the guidance scale as an input."""
    parts = _sana_parts(guidance_embeds=True, qk_norm="rms_norm_across_heads")
    return diffusers.SanaSprintPipeline(**parts, scheduler=diffusers.SCMScheduler())


def _sana_parts(**options: Any) -> dict[str, Any]:
    tokenizer = tokenizers.gemma()
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_attention_heads=4,
        attention_head_dim=8,
        num_cross_attention_heads=4,
        cross_attention_head_dim=8,
        cross_attention_dim=32,
        caption_channels=WIDTH,
        sample_size=16,
        **options,
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": gemma_text_encoder(len(tokenizer)),
        "vae": deep_autoencoder(),
        "transformer": transformer.eval(),
    }


def _sd3(**options: Any) -> diffusers.StableDiffusion3Pipeline:
    first, second, third = tokenizers.clip(), tokenizers.clip(pad="!"), tokenizers.t5()
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=24,
        **options,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        vae=autoencoder(channels=16, scaling=1.5305, shift=0.0609, quant_convs=False),
        text_encoder=clip_text_encoder(len(first), pooled=WIDTH),
        text_encoder_2=clip_text_encoder(len(second), activation="gelu", pooled=WIDTH),
        text_encoder_3=t5_text_encoder(len(third), width=2 * WIDTH),
        tokenizer=first,
        tokenizer_2=second,
        tokenizer_3=third,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
