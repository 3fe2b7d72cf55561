"""Random pipelines of Ovis-Image and LongCat-Image."""

from __future__ import annotations

from typing import Any

import diffusers

from . import qwen_image, tokenizers
from .flux import shifted_by_size
from .language_models import qwen3_model
from .parts import WIDTH, autoencoder, enlarge


def ovis_image() -> diffusers.OvisImagePipeline:
    """Ovis-Image: Qwen3's last layer, with zeros for padding, and feed-forward layers with gates."""
    tokenizer = tokenizers.qwen()
    transformer = diffusers.OvisImageTransformer2DModel(**_shape(WIDTH))
    return diffusers.OvisImagePipeline(
        text_encoder=qwen3_model(len(tokenizer)), tokenizer=tokenizer, **_parts(transformer)
    )


def longcat_image() -> diffusers.LongCatImagePipeline:
    """LongCat-Image: Qwen2.5-VL, whose padding is read, and guidance that makes no token longer."""
    tokenizer = tokenizers.qwen()
    transformer = diffusers.LongCatImageTransformer2DModel(**_shape(qwen_image.WIDTH), pooled_projection_dim=8)
    return diffusers.LongCatImagePipeline(
        text_encoder=qwen_image.qwen25_vl(tokenizer), tokenizer=tokenizer, text_processor=None, **_parts(transformer)
    )


def _shape(text: int) -> dict[str, Any]:
    return {
        "patch_size": 1,
        "in_channels": 64,
        "num_layers": 1,
        "num_single_layers": 2,
        "attention_head_dim": 20,
        "num_attention_heads": 2,
        "joint_attention_dim": text,
        "axes_dims_rope": (4, 8, 8),
    }


def _parts(transformer: Any) -> dict[str, Any]:
    enlarge(transformer, {"attn.norm": 3.0, "to_v": 2.0, "context_embedder.": 3.0, "proj_out": 2.0})
    return {
        "scheduler": shifted_by_size(),
        "vae": autoencoder(channels=16, scaling=0.3611, shift=0.1159, quant_convs=False),
        "transformer": transformer.eval(),
    }
