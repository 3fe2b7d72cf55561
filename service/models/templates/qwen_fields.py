"""The fields of Qwen2.5-VL's configuration that shape its two graphs, and those that do not; see `fields`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .text_fields import EVERY

if TYPE_CHECKING:
    from collections.abc import Mapping

LANGUAGE, VISION = "qwen25_vl", "qwen25_vision"
_ROPE = ("rope_parameters", "rope_scaling")

QWEN_SHAPING: Mapping[str, Mapping[str, Any]] = {
    LANGUAGE: {
        "vocab_size": 152064,
        "hidden_size": 8192,
        "intermediate_size": 29568,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000000.0,
        "mrope_section": [16, 24, 24],
        "use_sliding_window": False,
        "image_token_id": 151655,
    },
    VISION: {
        "depth": 32,
        "hidden_size": 3584,
        "hidden_act": "silu",
        "intermediate_size": 3420,
        "num_heads": 16,
        "in_channels": 3,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        "out_hidden_size": 3584,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
}
QWEN_IGNORED: Mapping[str, frozenset[str]] = {
    LANGUAGE: EVERY
    | frozenset(
        {
            "attention_dropout",
            "bos_token_id",
            "eos_token_id",
            "initializer_range",
            "layer_types",
            # Rotary places have no end.
            "max_position_embeddings",
            "max_window_layers",
            "pad_token_id",
            "sliding_window",
            "use_cache",
            "video_token_id",
            "vision_config",
            "vision_end_token_id",
            "vision_start_token_id",
            "vision_token_id",
        }
    ),
    # The times of videos; early files spell some fields otherwise as well, with the values of the class.
    VISION: EVERY | frozenset({"initializer_range", "tokens_per_second", "in_chans", "spatial_patch_size", *_ROPE}),
}


def flat_language(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of the language model, which newer files nest, with its rotary places as fields."""
    inner = config.get("text_config")
    flat = {**config, **(inner if isinstance(inner, dict) else {})}
    flat.pop("text_config", None)
    for field in _ROPE:
        rope = flat.pop(field, None)
        kept = ("mrope_section", "rope_theta")
        flat |= {name: rope[name] for name in kept if name in rope} if isinstance(rope, dict) else {}
    return flat
