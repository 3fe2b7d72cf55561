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

# Chroma1-HD and Chroma1-Base: the defaults of the class, as diffusers' conversion of single files uses them.
CHROMA: dict[str, Any] = {}

# Name of a template -> its kind and configuration.
NEWER: dict[str, tuple[str, dict[str, Any]]] = {
    "flux2-klein-4b": ("flux2", FLUX2_KLEIN_4B),
    "flux2-klein-9b": ("flux2", FLUX2_KLEIN_9B),
    "flux2-dev": ("flux2", {}),
    "kl-flux2-encoder": ("kl_flux2_encoder", KL_FLUX2),
    "kl-flux2-decoder": ("kl_flux2_decoder", KL_FLUX2),
    "kl-flux2-small-decoder": ("kl_flux2_decoder", KL_FLUX2_SMALL),
    "chroma": ("chroma", CHROMA),
    "z-image": ("z_image", Z_IMAGE),
    "lumina-image-2": ("lumina2", LUMINA2),
    "qwen-image": ("qwen_image", QWEN_IMAGE),
    "qwen-image-edit-2511": ("qwen_image", QWEN_EDIT_2511),
    "qwen-vae-encoder": ("qwen_vae_encoder", QWEN_VAE),
    "qwen-vae-decoder": ("qwen_vae_decoder", QWEN_VAE),
}
