"""The fields of published configurations, by kind of graph: which ones shape the graph, and their defaults.

The defaults are those of diffusers' and transformers' classes, because published files lack fields that were added
later. A field that is in neither table is refused unless it is null, false or empty (`keys`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .control_fields import CONTROL_IGNORED, CONTROL_SHAPING
from .language_fields import LANGUAGE_IGNORED, LANGUAGE_SHAPING
from .text_fields import TEXT_IGNORED, TEXT_SHAPING
from .transformer_fields import TRANSFORMER_IGNORED, TRANSFORMER_SHAPING

if TYPE_CHECKING:
    from collections.abc import Mapping

_KL = {
    "block_out_channels": [64],
    "layers_per_block": 1,
    "act_fn": "silu",
    "latent_channels": 4,
    "norm_num_groups": 32,
    "mid_block_add_attention": True,
}
_KL_IGNORED = frozenset(
    {"sample_size", "scaling_factor", "shift_factor", "force_upcast", "latents_mean", "latents_std"}
)
_KL_ENCODER = {"in_channels": 3, "down_block_types": ["DownEncoderBlock2D"], "use_quant_conv": True}
_KL_DECODER = {"out_channels": 3, "up_block_types": ["UpDecoderBlock2D"], "use_post_quant_conv": True}
_DC = {"in_channels": 3, "latent_channels": 32, "attention_head_dim": 32}
_DC_IGNORED = frozenset({"scaling_factor"})
_DC_ENCODER = {
    "encoder_block_types": "ResBlock",
    "encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024],
    "encoder_layers_per_block": [2, 2, 2, 3, 3, 3],
    "encoder_qkv_multiscales": [[], [], [], [5], [5], [5]],
    "downsample_block_type": "pixel_unshuffle",
    "encoder_out_shortcut": True,
}
_DC_DECODER = {
    "decoder_block_types": "ResBlock",
    "decoder_block_out_channels": [128, 256, 512, 512, 1024, 1024],
    "decoder_layers_per_block": [3, 3, 3, 3, 3, 3],
    "decoder_qkv_multiscales": [[], [], [], [5], [5], [5]],
    "upsample_block_type": "pixel_shuffle",
    "decoder_norm_types": "rms_norm",
    "decoder_act_fns": "silu",
    "decoder_in_shortcut": True,
    "decoder_conv_act_fn": "relu",
}
_TINY = {"act_fn": "relu", "latent_channels": 4}
_TINY_IGNORED = frozenset(
    # `block_out_channels` repeats the decoder's; the magnitude and the shift are those of a preview in 8 bits.
    {"latent_magnitude", "latent_shift", "force_upcast", "scaling_factor", "shift_factor", "block_out_channels"}
)
_TINY_ENCODER = {"in_channels": 3, "encoder_block_out_channels": [64] * 4, "num_encoder_blocks": [1, 3, 3, 3]}
_TINY_DECODER = {
    "out_channels": 3,
    "decoder_block_out_channels": [64] * 4,
    "num_decoder_blocks": [3, 3, 3, 1],
    "upsample_fn": "nearest",
    "upsampling_scaling_factor": 2,
}

_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "only_cross_attention": False,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "act_fn": "silu",
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "reverse_transformer_layers_per_block": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "attention_head_dim": 8,
    "num_attention_heads": None,
    "dual_cross_attention": False,
    "use_linear_projection": False,
    "class_embed_type": None,
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "num_class_embeds": None,
    "resnet_time_scale_shift": "default",
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "time_cond_proj_dim": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "projection_class_embeddings_input_dim": None,
    "attention_type": "default",
    "class_embeddings_concat": False,
    "mid_block_only_cross_attention": None,
    "cross_attention_norm": None,
    "addition_embed_type_num_heads": 64,
}
# DreamLite's UNet has these in addition, and other defaults.
_DREAMLITE = {
    "down_block_types": [
        "DreamLiteCrossAttnNoSelfAttnDownBlock2D",
        "DreamLiteCrossAttnNoSelfAttnDownBlock2D",
        "DreamLiteCrossAttnDownBlock2D",
    ],
    "mid_block_type": "DreamLiteUNetMidBlock2DCrossAttn",
    "up_block_types": [
        "DreamLiteCrossAttnUpBlock2D",
        "DreamLiteCrossAttnNoSelfAttnUpBlock2D",
        "DreamLiteUpBlock2D",
    ],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "attention_head_dim": 64,
    "qk_norm": "rms_norm",
    "use_sep_conv": True,
    "ff_mult": 6,
    "num_kv_heads": 1,
    "num_mid_layers": 1,
}

# Kind of graph -> the fields that shape it, with the defaults of the class.
SHAPING: Mapping[str, Mapping[str, Any]] = {
    **TEXT_SHAPING,
    **CONTROL_SHAPING,
    **LANGUAGE_SHAPING,
    **TRANSFORMER_SHAPING,
    "unet": _UNET,
    "dreamlite": _UNET | _DREAMLITE,
    "sd3": {
        "patch_size": 2,
        "in_channels": 16,
        "num_layers": 18,
        "attention_head_dim": 64,
        "num_attention_heads": 18,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 1152,
        "pooled_projection_dim": 2048,
        "out_channels": 16,
        "pos_embed_max_size": 96,
        "dual_attention_layers": [],
        "qk_norm": None,
    },
    "flux": {
        "patch_size": 1,
        "in_channels": 64,
        "out_channels": None,
        "num_layers": 19,
        "num_single_layers": 38,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
        "guidance_embeds": False,
        "axes_dims_rope": [16, 56, 56],
    },
    "pixart": {
        "num_attention_heads": 16,
        "attention_head_dim": 72,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 28,
        "norm_num_groups": 32,
        "cross_attention_dim": 1152,
        "attention_bias": True,
        "sample_size": 128,
        "patch_size": 2,
        "activation_fn": "gelu-approximate",
        "num_embeds_ada_norm": 1000,
        "norm_type": "ada_norm_single",
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "interpolation_scale": None,
        "use_additional_conditions": None,
        "caption_channels": None,
        "attention_type": "default",
    },
    "sana": {
        "in_channels": 32,
        "out_channels": 32,
        "num_attention_heads": 70,
        "attention_head_dim": 32,
        "num_layers": 20,
        "num_cross_attention_heads": 20,
        "cross_attention_head_dim": 112,
        "cross_attention_dim": 2240,
        "caption_channels": 2304,
        "mlp_ratio": 2.5,
        "attention_bias": False,
        "sample_size": 32,
        "patch_size": 1,
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "interpolation_scale": None,
        "guidance_embeds": False,
        "guidance_embeds_scale": 0.1,
        "qk_norm": None,
    },
    "kl_encoder": _KL | _KL_ENCODER,
    "kl_decoder": _KL | _KL_DECODER,
    "dc_encoder": _DC | _DC_ENCODER,
    "dc_decoder": _DC | _DC_DECODER,
    "tiny_encoder": _TINY | _TINY_ENCODER,
    "tiny_decoder": _TINY | _TINY_DECODER,
}

# Kind of graph -> the fields of its class that its graph does not depend on.
IGNORED: Mapping[str, frozenset[str]] = {
    **TEXT_IGNORED,
    **CONTROL_IGNORED,
    **LANGUAGE_IGNORED,
    **TRANSFORMER_IGNORED,
    # torch's attention function does not read `upcast_attention`.
    "unet": frozenset({"sample_size", "dropout", "upcast_attention"}),
    "dreamlite": frozenset({"sample_size", "dropout", "upcast_attention"}),
    # The table of positions has `pos_embed_max_size`, and is stored with the weights.
    "sd3": frozenset({"sample_size"}),
    "flux": frozenset(),
    "pixart": frozenset({"dropout", "upcast_attention"}),
    # The service multiplies the timesteps.
    "sana": frozenset({"dropout", "timestep_scale"}),
    "kl_encoder": _KL_IGNORED | _KL_DECODER.keys(),
    "kl_decoder": _KL_IGNORED | _KL_ENCODER.keys(),
    "dc_encoder": _DC_IGNORED | _DC_DECODER.keys(),
    "dc_decoder": _DC_IGNORED | _DC_ENCODER.keys(),
    "tiny_encoder": _TINY_IGNORED | _TINY_DECODER.keys(),
    "tiny_decoder": _TINY_IGNORED | _TINY_ENCODER.keys(),
}
