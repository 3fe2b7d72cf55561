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
    "kl_flux2_encoder": _KL_FLUX2 | _KL_FLUX2_ENCODER,
    "kl_flux2_decoder": _KL_FLUX2 | _KL_FLUX2_DECODER,
}

# Kind of graph -> the fields of its class that its graph does not depend on.
TRANSFORMER_IGNORED: Mapping[str, frozenset[str]] = {
    "flux2": frozenset(),
    "kl_flux2_encoder": _KL_FLUX2_IGNORED | _KL_FLUX2_DECODER.keys(),
    "kl_flux2_decoder": _KL_FLUX2_IGNORED | _KL_FLUX2_ENCODER.keys(),
}
