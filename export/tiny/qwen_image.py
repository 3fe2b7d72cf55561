"""Random pipelines of Qwen-Image, Qwen-Image-Edit and Edit-2509, and of Edit-2511, which differs in its transformer."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
import transformers

from . import tokenizers
from .parts import enlarge

WIDTH = 40


def qwen_image() -> diffusers.QwenImagePipeline:
    """Qwen-Image: text alone."""
    return diffusers.QwenImagePipeline(**_parts())


def qwen_image_edit() -> diffusers.QwenImageEditPipeline:
    """The first Qwen-Image-Edit: one image."""
    return diffusers.QwenImageEditPipeline(**_editing_parts())


def qwen_image_edit_plus() -> diffusers.QwenImageEditPlusPipeline:
    """Qwen-Image-Edit-2509: several images."""
    return diffusers.QwenImageEditPlusPipeline(**_editing_parts())


def qwen_image_edit_2511() -> diffusers.QwenImageEditPlusPipeline:
    """Qwen-Image-Edit-2511: images to edit are modulated as at time 0."""
    return diffusers.QwenImageEditPlusPipeline(**_editing_parts(zero_cond_t=True))


def _editing_parts(**options: Any) -> dict[str, Any]:
    """Return parts whose autoencoder is as certain of its latents as a trained one: masked edits draw them."""
    parts = _parts(**options)
    convolution = parts["vae"].quant_conv
    with torch.no_grad():
        convolution.weight[convolution.out_channels // 2 :] = 0
        convolution.bias[convolution.out_channels // 2 :] = -25
    return {**parts, "processor": None}


def _parts(**options: Any) -> dict[str, Any]:
    tokenizer = tokenizers.qwen()
    return {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(
            shift=1.0,
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=0.9,
            base_image_seq_len=256,
            max_image_seq_len=8192,
            shift_terminal=0.02,
        ),
        "vae": autoencoder(),
        "text_encoder": qwen25_vl(tokenizer),
        "tokenizer": tokenizer,
        "transformer": _transformer(**options),
    }


def qwen25_vl(tokenizer: Any) -> transformers.Qwen2_5_VLForConditionalGeneration:
    """Qwen2.5-VL with two layers of language, and two of vision: one within windows, one over the image."""
    image, start = (tokenizer.convert_tokens_to_ids(name) for name in ("<|image_pad|>", "<|vision_start|>"))
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 56,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [1, 2, 2]},
            "rope_theta": 1e6,
            "max_position_embeddings": 128000,
            "rms_norm_eps": 1e-6,
            "bos_token_id": None,
            "eos_token_id": None,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 24,
            "intermediate_size": 44,
            "num_heads": 3,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
        image_token_id=image,
        vision_start_token_id=start,
    )
    model = transformers.Qwen2_5_VLForConditionalGeneration(config).eval()
    stir(model)
    enlarge(model, {"embed_tokens": 10.0, "proj": 4.0, "qkv": 4.0, "merger.mlp": 10.0})
    return model


def _transformer(**options: Any) -> diffusers.QwenImageTransformer2DModel:
    shape: dict[str, Any] = {
        "num_layers": 2,
        "attention_head_dim": 32,
        "num_attention_heads": 2,
        "joint_attention_dim": WIDTH,
        "axes_dims_rope": (4, 14, 14),
    }
    module = diffusers.QwenImageTransformer2DModel(**shape | options).eval()
    stir(module)
    enlarge(module, {"txt_in": 3.0, "proj_out": 3.0, "_mod.1": 3.0, "to_v": 2.0})
    return module


def autoencoder() -> diffusers.AutoencoderKLQwenImage:
    """Levels as published: latents have an eighth of the image's size."""
    vae = diffusers.AutoencoderKLQwenImage(base_dim=6).eval()
    stir(vae)
    enlarge(vae, {"decoder.conv_out": 4.0})
    return vae


def stir(module: torch.nn.Module) -> None:
    """Change weights that are equal at first, such as those of norms, to random ones: equal ones prove nothing."""
    with torch.no_grad():
        for weight in module.parameters():
            if weight.min() == weight.max():
                weight.add_(torch.randn_like(weight) * 0.1)
