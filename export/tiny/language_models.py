"""Language models of random pipelines that encode prompts: narrow, but as deep as the layers that pipelines read."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

from .parts import WIDTH


def qwen3_text_encoder(tokens: int, *, layers: int = 28) -> transformers.Qwen3ForCausalLM:
    """Qwen3 with two queries per key; FLUX.2 klein reads the layers 9, 18 and 27."""
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**_narrow(tokens, layers))).eval()


def qwen3_model(tokens: int) -> transformers.Qwen3Model:
    """Qwen3 without its head; Ovis-Image reads the last layer."""
    return transformers.Qwen3Model(transformers.Qwen3Config(**_narrow(tokens, 2))).eval()


def mistral3_text_encoder(tokens: int, *, layers: int = 31) -> transformers.Mistral3ForConditionalGeneration:
    """Mistral 3 with an image encoder that no pipeline calls; FLUX.2 dev reads the layers 10, 20 and 30."""
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.Mistral3Config(
        text_config=transformers.MistralConfig(**_narrow(tokens, layers), sliding_window=None),
        vision_config=transformers.PixtralVisionConfig(**vision, image_size=64, patch_size=16),
    )
    return transformers.Mistral3ForConditionalGeneration(config).eval()


def ministral3_model(tokens: int) -> transformers.Mistral3Model:
    """Ministral 3 with an image encoder that no pipeline calls; ERNIE-Image reads the layer before the last."""
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.Mistral3Config(
        text_config=transformers.Ministral3Config(**_narrow(tokens, 3)),
        vision_config=transformers.PixtralVisionConfig(**vision, image_size=64, patch_size=16),
    )
    return transformers.Mistral3Model(config).eval()


def qwen3_vl(tokens: int, *, layers: int) -> transformers.Qwen3VLForConditionalGeneration:
    """Qwen3-VL with an image encoder that is not called; Krea 2 reads twelve of 36 layers, DreamLite the last one."""
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True, "rope_theta": 5e6}
    config = transformers.Qwen3VLConfig(
        text_config={**_narrow(tokens, layers), "rope_scaling": rope},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "depth": 1,
            "num_heads": 1,
            "out_hidden_size": WIDTH,
            "deepstack_visual_indexes": [0],
        },
    )
    return transformers.Qwen3VLForConditionalGeneration(config).eval()


def chatglm_text_encoder(tokens: int, *, width: int) -> ChatGLMModel:
    """ChatGLM3 with two layers, two queries per key, and half of each head rotated."""
    config = ChatGLMConfig(
        num_layers=2,
        padded_vocab_size=tokens,
        hidden_size=width,
        ffn_hidden_size=48,
        kv_channels=16,
        num_attention_heads=4,
        seq_length=2048,
        multi_query_attention=True,
        multi_query_group_num=2,
        add_qkv_bias=True,
        original_rope=True,
    )
    model = ChatGLMModel(config, empty_init=False).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0 if "norm" in name else 0.0, 0.1 if weight.ndim == 1 else 0.3)
    return model


def _narrow(tokens: int, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": tokens,
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 2048,
    }
