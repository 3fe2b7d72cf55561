"""Random pipelines of Z-Image and Lumina-Image 2."""

from __future__ import annotations

import diffusers

from . import tokenizers
from .language_models import qwen3_text_encoder
from .parts import WIDTH, autoencoder, enlarge, gemma_text_encoder


def z_image() -> diffusers.ZImagePipeline:
    """Z-Image, and Z-Image-Turbo but for its shift: Qwen3, and text in whole blocks of tokens."""
    tokenizer = tokenizers.qwen()
    transformer = diffusers.ZImageTransformer2DModel(
        dim=60,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=3,
        n_kv_heads=3,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 8, 8],
        axes_lens=[1024, 512, 512],
    )
    enlarge(transformer, {"to_v": 3.0, "to_out": 3.0, "cap_embedder.1": 3.0, "all_final_layer": 3.0})
    return diffusers.ZImagePipeline(
        tokenizer=tokenizer,
        text_encoder=qwen3_text_encoder(len(tokenizer), layers=3).model,
        vae=autoencoder(channels=16, scaling=0.3611, shift=0.1159, quant_convs=False),
        transformer=transformer.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=6.0),
    )


def lumina2() -> diffusers.Lumina2Pipeline:
    """Lumina-Image 2: Gemma, a text whose padding is masked, and three queries per key."""
    tokenizer = tokenizers.gemma()
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=16,
        in_channels=16,
        hidden_size=72,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=6,
        num_kv_heads=2,
        multiple_of=8,
        axes_dim_rope=(4, 4, 4),
        cap_feat_dim=WIDTH,
    )
    enlarge(transformer, {"to_v": 3.0, "to_out": 3.0, "caption_embedder.1": 3.0, "timestep_embedder": 3.0})
    return diffusers.Lumina2Pipeline(
        tokenizer=tokenizer,
        text_encoder=gemma_text_encoder(len(tokenizer)),
        vae=autoencoder(channels=16, scaling=0.3611, shift=0.1159, quant_convs=False),
        transformer=transformer.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=6.0),
    )
