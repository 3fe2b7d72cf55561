"""The fields of newer denoisers' and autoencoders' configurations, in the form of `fields`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_KL_FLUX2 = {
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "act_fn": "silu",
    "latent_channels": 32,
    "norm_num_groups": 32,
    "mid_block_add_attention": True,
    "batch_norm_eps": 1e-4,
    "patch_size": [2, 2],
}
_KL_FLUX2_IGNORED = frozenset({"sample_size", "force_upcast", "batch_norm_momentum"})
_KL_FLUX2_ENCODER = {"in_channels": 3, "down_block_types": ["DownEncoderBlock2D"] * 4, "use_quant_conv": True}
_KL_FLUX2_DECODER = {
    "out_channels": 3,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "use_post_quant_conv": True,
    "decoder_block_out_channels": None,
}
_QWEN_VAE = {
    "base_dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "input_channels": 3,
    # Of all channels; the graphs normalise the latents.
    "latents_mean": [
        *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
        *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
    ],
    "latents_std": [
        *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
        *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
    ],
}
# Frames are halved by layers that one frame does not reach.
_QWEN_VAE_IGNORED = frozenset({"temperal_downsample", "dropout"})

_FLUX_LIKE = {
    "patch_size": 1,
    "in_channels": 64,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "axes_dims_rope": [16, 56, 56],
}

# Kind of graph -> the fields that shape it, with the defaults of the class.
TRANSFORMER_SHAPING: Mapping[str, Mapping[str, Any]] = {
    "flux2": {
        "patch_size": 1,
        "in_channels": 128,
        "out_channels": None,
        "num_layers": 8,
        "num_single_layers": 48,
        "attention_head_dim": 128,
        "num_attention_heads": 48,
        "joint_attention_dim": 15360,
        "timestep_guidance_channels": 256,
        "mlp_ratio": 3.0,
        "axes_dims_rope": [32, 32, 32, 32],
        "rope_theta": 2000,
        "eps": 1e-6,
        "guidance_embeds": True,
    },
    "aura_flow": {
        "patch_size": 2,
        "in_channels": 4,
        "num_mmdit_layers": 4,
        "num_single_dit_layers": 32,
        "attention_head_dim": 256,
        "num_attention_heads": 12,
        "joint_attention_dim": 2048,
        "caption_projection_dim": 3072,
        "out_channels": 4,
        "pos_embed_max_size": 1024,
    },
    "chroma": {
        "patch_size": 1,
        "in_channels": 64,
        "out_channels": None,
        "num_layers": 19,
        "num_single_layers": 38,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "axes_dims_rope": [16, 56, 56],
        "approximator_num_channels": 64,
        "approximator_hidden_dim": 5120,
        "approximator_layers": 5,
    },
    "z_image": {
        "all_patch_size": [2],
        "all_f_patch_size": [1],
        "in_channels": 16,
        "dim": 3840,
        "n_layers": 30,
        "n_refiner_layers": 2,
        "n_heads": 30,
        "norm_eps": 1e-5,
        "qk_norm": True,
        "cap_feat_dim": 2560,
        "siglip_feat_dim": None,
        "rope_theta": 256.0,
        "t_scale": 1000.0,
        "axes_dims": [32, 48, 48],
    },
    "lumina2": {
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": None,
        "hidden_size": 2304,
        "num_layers": 26,
        "num_refiner_layers": 2,
        "num_attention_heads": 24,
        "num_kv_heads": 8,
        "multiple_of": 256,
        "ffn_dim_multiplier": None,
        "norm_eps": 1e-5,
        "axes_dim_rope": [32, 32, 32],
        "cap_feat_dim": 1024,
    },
    "ovis_image": _FLUX_LIKE
    | {"out_channels": 64, "num_layers": 6, "num_single_layers": 27, "joint_attention_dim": 2048},
    "longcat_image": _FLUX_LIKE | {"num_layers": 19, "num_single_layers": 38, "joint_attention_dim": 3584},
    "ernie_image": {
        "hidden_size": 3072,
        "num_attention_heads": 24,
        "num_layers": 24,
        "ffn_hidden_size": 8192,
        "in_channels": 128,
        "out_channels": 128,
        "patch_size": 1,
        "text_in_dim": 2560,
        "rope_theta": 256,
        "rope_axes_dim": [32, 48, 48],
        "eps": 1e-6,
        "qk_layernorm": True,
    },
    "krea2": {
        "in_channels": 64,
        "num_layers": 28,
        "attention_head_dim": 128,
        "num_attention_heads": 48,
        "num_key_value_heads": 12,
        "intermediate_size": 16384,
        "timestep_embed_dim": 256,
        "text_hidden_dim": 2560,
        "num_text_layers": 12,
        "text_num_attention_heads": 20,
        "text_num_key_value_heads": 20,
        "text_intermediate_size": 6912,
        "num_layerwise_text_blocks": 2,
        "num_refiner_text_blocks": 2,
        "axes_dims_rope": [32, 48, 48],
        "rope_theta": 1000.0,
        "norm_eps": 1e-5,
    },
    "kl_flux2_encoder": _KL_FLUX2 | _KL_FLUX2_ENCODER,
    "kl_flux2_decoder": _KL_FLUX2 | _KL_FLUX2_DECODER,
    "qwen_image": {
        "patch_size": 2,
        "in_channels": 64,
        "out_channels": 16,
        "num_layers": 60,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 3584,
        "axes_dims_rope": [16, 56, 56],
        "zero_cond_t": False,
    },
    "qwen_vae_encoder": _QWEN_VAE,
    "qwen_vae_decoder": _QWEN_VAE,
}

# Kind of graph -> the fields of its class that its graph does not depend on.
TRANSFORMER_IGNORED: Mapping[str, frozenset[str]] = {
    "flux2": frozenset(),
    # The positions that a graph takes do not depend on it.
    "aura_flow": frozenset({"sample_size"}),
    "chroma": frozenset(),
    # The class does not read `n_kv_heads`; the graph computes places of any number.
    "z_image": frozenset({"n_kv_heads", "axes_lens"}),
    # The class does not read `scaling_factor`.
    "lumina2": frozenset({"sample_size", "scaling_factor", "axes_lens"}),
    "ovis_image": frozenset(),
    # The class does not read the width of a pooled text.
    "longcat_image": frozenset({"pooled_projection_dim"}),
    "ernie_image": frozenset(),
    "krea2": frozenset(),
    "kl_flux2_encoder": _KL_FLUX2_IGNORED | _KL_FLUX2_DECODER.keys(),
    "kl_flux2_decoder": _KL_FLUX2_IGNORED | _KL_FLUX2_ENCODER.keys(),
    # Early files have the width of a pooled text, which the class does not know.
    "qwen_image": frozenset({"pooled_projection_dim"}),
    "qwen_vae_encoder": _QWEN_VAE_IGNORED,
    "qwen_vae_decoder": _QWEN_VAE_IGNORED,
}
