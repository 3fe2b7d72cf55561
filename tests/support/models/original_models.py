"""Modules of published architectures, at full size without memory, or reduced with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers
from transformers.initialization import no_init_weights

if TYPE_CHECKING:
    from collections.abc import Callable

_SD2 = {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}
_TEXT_TIME = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256, "use_linear_projection": True}
_XL_LEVELS = {
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
}
# Published UNets, as their config.json differs from the class's defaults; those of the middle blocks too.
UNETS: dict[str, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 768, "sample_size": 64},
    "sd2": {**_SD2, "sample_size": 96, "upcast_attention": True},
    "sdxl": {**_TEXT_TIME, **_XL_LEVELS, "transformer_layers_per_block": [1, 2, 10]},
    "refiner": {
        **_TEXT_TIME,
        "block_out_channels": [384, 768, 1536, 1536],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": [6, 12, 24, 24],
        "cross_attention_dim": 1280,
        "projection_class_embeddings_input_dim": 2560,
        "transformer_layers_per_block": 4,
        "sample_size": 128,
    },
    "ssd_1b": {
        **_TEXT_TIME,
        **_XL_LEVELS,
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": [1, [2, 2], [4, 4]],
        "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1],
    },
    "vega": {
        **_TEXT_TIME,
        **_XL_LEVELS,
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": [1, 1, 2],
    },
}
_SD3 = {"caption_projection_dim": 1536, "num_layers": 24, "num_attention_heads": 24, "pos_embed_max_size": 192}
SD3 = {"joint_attention_dim": 4096, "pooled_projection_dim": 2048, "attention_head_dim": 64, "out_channels": 16}
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sd3_medium": ("SD3Transformer2DModel", {**SD3, **_SD3}),
    "sd35_medium": (
        "SD3Transformer2DModel",
        {
            **SD3,
            **_SD3,
            "pos_embed_max_size": 384,
            "qk_norm": "rms_norm",
            "dual_attention_layers": list(range(13)),
        },
    ),
    "sd35_large": (
        "SD3Transformer2DModel",
        {
            **SD3,
            "caption_projection_dim": 2432,
            "num_layers": 38,
            "num_attention_heads": 38,
            "pos_embed_max_size": 192,
            "qk_norm": "rms_norm",
        },
    ),
    "flux_dev": ("FluxTransformer2DModel", {"guidance_embeds": True}),
    "flux_schnell": ("FluxTransformer2DModel", {}),
    "z_image": ("ZImageTransformer2DModel", {}),
    "lumina2": ("Lumina2Transformer2DModel", {"cap_feat_dim": 2304}),
    "flux_fill": ("FluxTransformer2DModel", {"guidance_embeds": True, "in_channels": 384, "out_channels": 64}),
    "chroma": ("ChromaTransformer2DModel", {}),
    "aura_flow": ("AuraFlowTransformer2DModel", {"pos_embed_max_size": 9216}),
    "flux2_klein": ("Flux2Transformer2DModel", {"guidance_embeds": False}),
    "flux2": ("Flux2Transformer2DModel", {}),
}
VAES: dict[str, dict[str, Any]] = {
    "sd": {"scaling_factor": 0.18215, "latent_channels": 4},
    "flux": {
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
}
VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
CLIPS: dict[str, dict[str, Any]] = {
    "clip_l": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    "clip_h": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16},
    "clip_g": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20},
}


REDUCED_CLIP = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}


def unet(name: str, **changes: Any) -> Any:
    """Return a published UNet, or one with other numbers."""
    return diffusers.UNet2DConditionModel.from_config(UNETS[name] | changes).eval()


def transformer(name: str, **changes: Any) -> Any:
    class_name, config = TRANSFORMERS[name]
    return getattr(diffusers, class_name).from_config(config | changes).eval()


def vae(name: str, **changes: Any) -> Any:
    return diffusers.AutoencoderKL.from_config(VAE | VAES[name] | changes).eval()


def flux2_vae(**changes: Any) -> Any:
    """Return FLUX.2's autoencoder, or one with other numbers; its statistics are not those of a new one."""
    made = diffusers.AutoencoderKLFlux2.from_config(changes).eval()
    randomize(made)
    made.bn.running_var.abs_().add_(0.5)
    made.bn.num_batches_tracked = None  # a count that only training reads
    return made


def clip(name: str, *, projected: int = 0, **changes: Any) -> Any:
    """Return a CLIP text encoder; `projected` is the width of its projection, 0 for the class without one."""
    config = transformers.CLIPTextConfig(
        **CLIPS[name] | changes,
        vocab_size=49408,
        max_position_embeddings=77,
        hidden_act="quick_gelu" if name == "clip_l" else "gelu",
        projection_dim=projected or 64,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config).eval()


def t5(**changes: Any) -> Any:
    """Return T5-XXL's encoder, or a reduced one."""
    full = {"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
    return transformers.T5EncoderModel(
        transformers.T5Config(**full | changes, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    ).eval()


def umt5(**config: Any) -> Any:
    """Return a UMT5 encoder."""
    return transformers.UMT5EncoderModel(transformers.UMT5Config(**config, feed_forward_proj="gated-gelu")).eval()


def without_memory(make: Callable[[], Any]) -> Any:
    """Return the module or the state that `make` makes, on torch's `meta` device and without initial numbers."""
    with torch.device("meta"), no_init_weights():
        return make()


def randomize(module: Any, seed: int = 0) -> Any:
    """Give all tensors other numbers, so that no two are equal; return the module."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                scale = float(tensor.ndim == 1 and name.endswith("weight"))  # of a norm
                tensor.copy_(scale + torch.randn(tensor.shape, generator=generator) * 0.1)
    return module
