"""Random pipelines of FLUX.2: klein and dev."""

from __future__ import annotations

import diffusers
import torch

from . import tokenizers
from .flux import shifted_by_size
from .language_models import mistral3_text_encoder, qwen3_text_encoder
from .parts import WIDTH, enlarge

LATENTS = 8  # channels of the autoencoder, before patches of 2 by 2


def flux2_klein() -> diffusers.Flux2KleinPipeline:
    """FLUX.2 klein before its distillation: Qwen3, and classifier-free guidance."""
    tokenizer = tokenizers.qwen()
    return diffusers.Flux2KleinPipeline(
        scheduler=shifted_by_size(),
        vae=autoencoder(),
        text_encoder=qwen3_text_encoder(len(tokenizer)),
        tokenizer=tokenizer,
        transformer=_transformer(guidance=False),
    )


def flux2_dev() -> diffusers.Flux2Pipeline:
    """FLUX.2 dev: Mistral, padded on the left, and guidance as an input."""
    tokenizer = tokenizers.mistral()
    return diffusers.Flux2Pipeline(
        scheduler=shifted_by_size(),
        vae=autoencoder(),
        text_encoder=mistral3_text_encoder(len(tokenizer)),
        tokenizer=tokenizer,
        transformer=_transformer(guidance=True),
    )


def _transformer(*, guidance: bool) -> diffusers.Flux2Transformer2DModel:
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=4 * LATENTS,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * WIDTH,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    )
    # So that the prompt, of a few tokens among 512, and images to edit change the result visibly.
    enlarge(transformer, {"attn.norm": 3.0, "to_v": 3.0, "context_embedder": 3.0, "to_qkv_mlp_proj": 2.0})
    return transformer.eval()


def autoencoder() -> diffusers.AutoencoderKLFlux2:
    """Return an autoencoder whose latents are not of mean 0 and deviation 1, which its statistics correct."""
    vae = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=4,
        sample_size=128,
    )
    with torch.no_grad():
        vae.bn.running_mean.normal_(0, 0.3)
        vae.bn.running_var.uniform_(0.5, 2.5)
    return vae.eval()
