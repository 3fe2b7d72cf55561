"""The fields of ControlNets' configurations, in the form of `fields`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .text_fields import EVERY

if TYPE_CHECKING:
    from collections.abc import Mapping

# Kind of graph -> the fields that shape it, with the defaults of the class.
CONTROL_SHAPING: Mapping[str, Mapping[str, Any]] = {
    "controlnet": {
        "in_channels": 4,
        "conditioning_channels": 3,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "mid_block_type": "UNetMidBlock2DCrossAttn",
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
        "encoder_hid_dim": None,
        "encoder_hid_dim_type": None,
        "attention_head_dim": 8,
        "num_attention_heads": None,
        "use_linear_projection": False,
        "class_embed_type": None,
        "addition_embed_type": None,
        "addition_time_embed_dim": None,
        "num_class_embeds": None,
        "resnet_time_scale_shift": "default",
        "projection_class_embeddings_input_dim": None,
        "controlnet_conditioning_channel_order": "rgb",
        "conditioning_embedding_out_channels": [16, 32, 96, 256],
        "global_pool_conditions": False,
        "addition_embed_type_num_heads": 64,
    },
    "sd3_controlnet": {
        "patch_size": 2,
        "in_channels": 16,
        "num_layers": 18,
        "attention_head_dim": 64,
        "num_attention_heads": 18,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 1152,
        "pooled_projection_dim": 2048,
        "extra_conditioning_channels": 0,
        "dual_attention_layers": [],
        "qk_norm": None,
        "pos_embed_type": "sincos",
        "use_pos_embed": True,
        "pos_embed_max_size": 96,
    },
    "clip_vision": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "projection_dim": 512,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 32,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    },
    "flux_controlnet": {
        "patch_size": 1,
        "in_channels": 64,
        "num_layers": 19,
        "num_single_layers": 38,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
        "guidance_embeds": False,
        "axes_dims_rope": [16, 56, 56],
        "num_mode": None,
        "conditioning_embedding_channels": None,
    },
}

# Kind of graph -> the fields of its class that its graph does not depend on.
CONTROL_IGNORED: Mapping[str, frozenset[str]] = {
    "controlnet": frozenset({"sample_size", "upcast_attention"}),
    # The service gives zeros for the text.
    "sd3_controlnet": frozenset({"sample_size", "out_channels", "force_zeros_for_pooled_projection"}),
    "flux_controlnet": frozenset(),
    "clip_vision": EVERY | {"attention_dropout", "initializer_range", "initializer_factor"},
}
