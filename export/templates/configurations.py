"""The configurations of published models that templates are made from; defaults of the classes are left out.

Sources: the config.json files of the named repositories, where they or copies of them could be read; otherwise as
noted. docs/templates.md lists what was checked.
"""

from __future__ import annotations

from typing import Any

from tintype.service.models.templates.keys import shaping

from .making import GraphConfig
from .newer_configurations import NEWER

DOWN = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
# Stable Diffusion 1.x and 2.x; SD-Turbo equals 2.1. Fields that no graph depends on are left out.
SD1_UNET = {"cross_attention_dim": 768}
SD2_UNET = {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}
INPAINTING = {"in_channels": 9}
SDXL_UNET = {
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
REFINER_UNET = SDXL_UNET | {
    "block_out_channels": [384, 768, 1536, 1536],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": 4,
    "cross_attention_dim": 1280,
    "attention_head_dim": [6, 12, 24, 24],
    "projection_class_embeddings_input_dim": 2560,
}
# Kolors: with ChatGLM3's states projected, and its pooled text.
KOLORS_UNET = SDXL_UNET | {
    "encoder_hid_dim": 4096,
    "encoder_hid_dim_type": "text_proj",
    "projection_class_embeddings_input_dim": 5632,
}
# SSD-1B and Segmind-Vega: depths as ComfyUI's comfy/model_detection.py states them; their middle has one layer.
SSD_1B_UNET = SDXL_UNET | {
    "mid_block_type": "UNetMidBlock2D",
    "transformer_layers_per_block": [0, [2, 2], [4, 4]],
    "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 0],
}
VEGA_UNET = SDXL_UNET | {"mid_block_type": "UNetMidBlock2D", "transformer_layers_per_block": [0, 1, 2]}

SD3_MEDIUM = {
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "pos_embed_max_size": 192,
}
SD35_MEDIUM = SD3_MEDIUM | {
    "pos_embed_max_size": 384,
    "qk_norm": "rms_norm",
    "dual_attention_layers": list(range(13)),
}
SD35_LARGE = SD3_MEDIUM | {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "qk_norm": "rms_norm",
}
PIXART_SIGMA = {"caption_channels": 4096, "use_additional_conditions": False}
SANA_1600M: dict[str, Any] = {}
SANA_600M = {
    "num_attention_heads": 36,
    "num_layers": 28,
    "num_cross_attention_heads": 16,
    "cross_attention_head_dim": 72,
    "cross_attention_dim": 1152,
}

SPRINT = {"guidance_embeds": True, "qk_norm": "rms_norm_across_heads"}

CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
CLIP_H = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
}
CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
    "projection_dim": 1280,
}
# The value of most files, which means the token with the highest id. Files written by newer versions have 49407.
HIGHEST = {"eos_token_id": 2}
T5_XXL = {"d_model": 4096, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "feed_forward_proj": "gated-gelu"}

KL = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
KL_16 = KL | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
LEVELS = ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3
DC_SANA = {
    "encoder_block_types": LEVELS,
    "decoder_block_types": LEVELS,
    "downsample_block_type": "conv",
    "upsample_block_type": "interpolate",
}
TAESD_16 = {"latent_channels": 16}

# Name of a template -> its kind and configuration.
TEMPLATES: dict[str, tuple[str, dict[str, Any]]] = {
    "sd1-unet": ("unet", SD1_UNET),
    "sd1-inpainting-unet": ("unet", SD1_UNET | INPAINTING),
    "lcm-unet": ("unet", SD1_UNET | {"time_cond_proj_dim": 256}),
    "sd2-unet": ("unet", SD2_UNET),
    "sd2-inpainting-unet": ("unet", SD2_UNET | INPAINTING),
    "sdxl-unet": ("unet", SDXL_UNET),
    "sdxl-inpainting-unet": ("unet", SDXL_UNET | INPAINTING),
    "sdxl-refiner-unet": ("unet", REFINER_UNET),
    "kolors-unet": ("unet", KOLORS_UNET),
    "ssd-1b-unet": ("unet", SSD_1B_UNET),
    "segmind-vega-unet": ("unet", VEGA_UNET),
    "sd3-medium": ("sd3", SD3_MEDIUM),
    "sd35-medium": ("sd3", SD35_MEDIUM),
    "sd35-large": ("sd3", SD35_LARGE),
    "flux1-dev": ("flux", {"guidance_embeds": True}),
    "flux1-schnell": ("flux", {}),
    "flux1-fill-dev": ("flux", {"guidance_embeds": True, "in_channels": 384, "out_channels": 64}),
    "pixart-alpha-1024": ("pixart", {"caption_channels": 4096, "sample_size": 128}),
    "pixart-sigma-256": ("pixart", PIXART_SIGMA | {"sample_size": 32, "interpolation_scale": 0.5}),
    "pixart-sigma-512": ("pixart", PIXART_SIGMA | {"sample_size": 64}),
    "pixart-sigma-1024": ("pixart", PIXART_SIGMA | {"sample_size": 128}),
    "pixart-sigma-2k": ("pixart", PIXART_SIGMA | {"sample_size": 256}),
    "sana-1600m": ("sana", SANA_1600M),
    "sana-600m": ("sana", SANA_600M),
    "sana-sprint-1600m": ("sana", SANA_1600M | SPRINT),
    "sana-sprint-600m": ("sana", SANA_600M | SPRINT),
    "clip-l": ("clip", CLIP_L | HIGHEST),
    "clip-l-eos": ("clip", CLIP_L),
    "clip-l-projected": ("clip_projected", CLIP_L | HIGHEST | {"projection_dim": 768}),
    "clip-l-projected-eos": ("clip_projected", CLIP_L | {"projection_dim": 768}),
    "clip-h": ("clip", CLIP_H | HIGHEST),
    "clip-h-eos": ("clip", CLIP_H),
    "clip-g": ("clip_projected", CLIP_G | HIGHEST),
    "clip-g-eos": ("clip_projected", CLIP_G),
    "t5-xxl": ("t5", T5_XXL),
    "t5-xxl-masked": ("masked_t5", T5_XXL),
    "gemma2-2b": ("gemma", {}),
    "kl-encoder": ("kl_encoder", KL),
    "kl-decoder": ("kl_decoder", KL),
    "kl-16-encoder": ("kl_encoder", KL_16),
    "kl-16-decoder": ("kl_decoder", KL_16),
    "dc-f32c32-encoder": ("dc_encoder", DC_SANA),
    "dc-f32c32-decoder": ("dc_decoder", DC_SANA),
    "taesd-encoder": ("tiny_encoder", {}),
    "taesd-decoder": ("tiny_decoder", {}),
    "taesd-16-encoder": ("tiny_encoder", TAESD_16),
    "taesd-16-decoder": ("tiny_decoder", TAESD_16),
    **NEWER,
}


def published() -> dict[str, GraphConfig]:
    """Return what each committed template is made from, by name."""
    return {name: GraphConfig(kind=kind, fields=shaping(kind, config)) for name, (kind, config) in TEMPLATES.items()}
