"""The published configurations of newer families, in the form of `configurations`."""

from __future__ import annotations

from typing import Any

# FLUX.2: as the configurations of its repositories are quoted by other software that builds these models.
FLUX2_KLEIN_4B = {
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
FLUX2_KLEIN_9B = {
    "num_layers": 8,
    "num_single_layers": 24,
    "num_attention_heads": 32,
    "joint_attention_dim": 12288,
    "guidance_embeds": False,
}
KL_FLUX2: dict[str, Any] = {}
# FLUX.2-small-decoder.
KL_FLUX2_SMALL = {"decoder_block_out_channels": [96, 192, 384, 384]}
# Z-Image and Z-Image-Turbo have the defaults of their class.
Z_IMAGE: dict[str, Any] = {}
LUMINA2 = {"cap_feat_dim": 2304}
# Qwen-Image, also 2512, Qwen-Image-Edit and -Edit-2509: the defaults of the class. Edit-2511 differs in one field.
QWEN_IMAGE: dict[str, Any] = {}
QWEN_EDIT_2511 = {"zero_cond_t": True}
QWEN_VAE: dict[str, Any] = {}
# Qwen3-4B in Z-Image and FLUX.2 klein 4B, and Qwen3-8B in klein 9B.
QWEN3_4B = {
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "rope_theta": 1000000,
}
QWEN3_8B = QWEN3_4B | {"hidden_size": 4096, "intermediate_size": 12288}
# Mistral-Small-3.1 and 3.2-24B-Instruct, in FLUX.2 dev.
MISTRAL_SMALL_3 = {
    "vocab_size": 131072,
    "hidden_size": 5120,
    "intermediate_size": 32768,
    "num_hidden_layers": 40,
    "head_dim": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000000000.0,
    "sliding_window": None,
}
# Ministral-3-3B, in ERNIE-Image.
MINISTRAL_3_3B = {"hidden_size": 3072, "intermediate_size": 9216, "num_hidden_layers": 26}
# Qwen3-VL-4B in Krea 2, and 2B in DreamLite.
QWEN3_VL_4B = QWEN3_4B | {"rope_theta": 5000000}
QWEN3_VL_2B = QWEN3_VL_4B | {
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
}
# Qwen2.5-VL-7B.
QWEN25_VL = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
}
QWEN25_VISION = {"hidden_size": 1280}

# Chroma1-HD and Chroma1-Base: the defaults of the class, as diffusers' conversion of single files uses them.
CHROMA: dict[str, Any] = {}

# ControlNets have the configurations of their denoisers: ControlNet 1.1 and those of SD 2.1 (diffusers' conversion),
# full-size ones of SDXL, InstantX's of SD3 medium, and InstantX's and Shakker Labs' of FLUX.1.
CONTROL_SDXL = {
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
CONTROL_SD2 = {"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": True}
CONTROL_SD3 = {
    "num_layers": 6,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "pos_embed_max_size": 192,
}
CONTROL_FLUX = {"num_layers": 5, "num_single_layers": 10, "guidance_embeds": True}
# AuraFlow v0.3, and its text encoder, which is Pile-T5-XL's.
AURA_FLOW = {"pos_embed_max_size": 9216}
PILE_T5_XL = {"vocab_size": 32128, "d_model": 2048, "d_ff": 5120, "num_layers": 24, "num_heads": 32}

# The image encoders of IP-Adapters: OpenCLIP's ViT-H and ViT-bigG.
CLIP_VISION_H = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "projection_dim": 1024,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
    "hidden_act": "gelu",
}
CLIP_VISION_G = CLIP_VISION_H | {
    "hidden_size": 1664,
    "intermediate_size": 8192,
    "projection_dim": 1280,
    "num_hidden_layers": 48,
}

# Ovis-Image: the defaults of the class. Its text encoder is that of Ovis 2.5-2B, Qwen3-1.7B, as that is published.
OVIS_IMAGE: dict[str, Any] = {}
QWEN3_17B = QWEN3_4B | {
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
}
# LongCat-Image, ERNIE-Image (also Turbo) and DreamLite (also mobile): as the configurations of their repositories are
# quoted by other software that builds these models. With what is quoted, DreamLite's UNet has its 0.39 B parameters.
LONGCAT_IMAGE = {"num_layers": 10, "num_single_layers": 20}
ERNIE_IMAGE = {
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_layers": 36,
    "ffn_hidden_size": 12288,
    "text_in_dim": 3072,
}
DREAMLITE = {
    "block_out_channels": [256, 512, 896],
    "attention_head_dim": [4, 8, 14],
    "transformer_layers_per_block": [1, 2, 4],
    "cross_attention_dim": 2304,
    "encoder_hid_dim": 2048,
    "encoder_hid_dim_type": "text_proj_rms",
    "use_linear_projection": True,
    "addition_embed_type": "time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 512,
    "ff_mult": 3,
}
# Krea 2, Raw and Turbo: the defaults of the class.
KREA2: dict[str, Any] = {}
# In Kolors.
CHATGLM3_6B = {"add_qkv_bias": True, "multi_query_attention": True, "multi_query_group_num": 2}

# Name of a template -> its kind and configuration.
NEWER: dict[str, tuple[str, dict[str, Any]]] = {
    "flux2-klein-4b": ("flux2", FLUX2_KLEIN_4B),
    "flux2-klein-9b": ("flux2", FLUX2_KLEIN_9B),
    "flux2-dev": ("flux2", {}),
    "ovis-image": ("ovis_image", OVIS_IMAGE),
    "longcat-image": ("longcat_image", LONGCAT_IMAGE),
    "ernie-image": ("ernie_image", ERNIE_IMAGE),
    "krea-2": ("krea2", KREA2),
    "dreamlite-unet": ("dreamlite", DREAMLITE),
    "qwen3-1.7b": ("qwen3", QWEN3_17B),
    "chatglm3-6b": ("chatglm", CHATGLM3_6B),
    "kl-flux2-encoder": ("kl_flux2_encoder", KL_FLUX2),
    "kl-flux2-decoder": ("kl_flux2_decoder", KL_FLUX2),
    "kl-flux2-small-decoder": ("kl_flux2_decoder", KL_FLUX2_SMALL),
    "chroma": ("chroma", CHROMA),
    "clip-h-vision": ("clip_vision", CLIP_VISION_H),
    "clip-g-vision": ("clip_vision", CLIP_VISION_G),
    "sd1-controlnet": ("controlnet", {"cross_attention_dim": 768}),
    "sd2-controlnet": ("controlnet", CONTROL_SD2),
    "sdxl-controlnet": ("controlnet", CONTROL_SDXL),
    "sd3-controlnet": ("sd3_controlnet", CONTROL_SD3),
    "flux1-controlnet": ("flux_controlnet", CONTROL_FLUX),
    "flux1-controlnet-union": ("flux_controlnet", CONTROL_FLUX | {"num_mode": 10}),
    "flux1-controlnet-union-pro-2": ("flux_controlnet", CONTROL_FLUX | {"num_layers": 6, "num_single_layers": 0}),
    "aura-flow": ("aura_flow", AURA_FLOW),
    "pile-t5-xl": ("umt5", PILE_T5_XL),
    "z-image": ("z_image", Z_IMAGE),
    "lumina-image-2": ("lumina2", LUMINA2),
    "qwen-image": ("qwen_image", QWEN_IMAGE),
    "qwen-image-edit-2511": ("qwen_image", QWEN_EDIT_2511),
    "gemma2-2b-penultimate": ("gemma_penultimate", {}),
    "qwen3-4b-penultimate": ("qwen3_penultimate", QWEN3_4B),
    "qwen3-4b-layers": ("qwen3_layers", QWEN3_4B),
    "qwen3-8b-layers": ("qwen3_layers", QWEN3_8B),
    "ministral-3-3b-penultimate": ("ministral3_penultimate", MINISTRAL_3_3B),
    "qwen3-vl-4b-layers": ("qwen3_vl_layers", QWEN3_VL_4B),
    "qwen3-vl-2b": ("qwen3_vl", QWEN3_VL_2B),
    "mistral-small-3-layers": ("mistral_layers", MISTRAL_SMALL_3),
    "qwen25-vl-7b": ("qwen25_vl", QWEN25_VL),
    "qwen25-vl-7b-vision": ("qwen25_vision", QWEN25_VISION),
    "qwen-vae-encoder": ("qwen_vae_encoder", QWEN_VAE),
    "qwen-vae-decoder": ("qwen_vae_decoder", QWEN_VAE),
}
