"""The fields of language models' configurations that shape their graphs, and those that do not; see `fields`.

Kinds end with the states that the graph returns: those of the last layer but one, or of some layers; without an ending,
the normalised states of the last layer. Files have more tensors than graphs read (`unread_tensors`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .text_fields import EVERY, TEXT_IGNORED, TEXT_SHAPING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LANGUAGE, VISION = "qwen25_vl", "qwen25_vision"
_ROPE = ("rope_parameters", "rope_scaling")

_QWEN3 = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "attention_bias": False,
    "use_sliding_window": False,
}
_MISTRAL = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "sliding_window": 4096,
}
# Ministral 3, whose rotary places are scaled.
_MINISTRAL3 = {
    "vocab_size": 131072,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 34,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000000.0,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 16.0,
        "llama_4_scaling_beta": 0.1,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 16384,
        "rope_type": "yarn",
    },
    "sliding_window": None,
}
# Of prompts without images.
_QWEN3_VL = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 500000.0,
    "rope_scaling": None,
    "attention_bias": False,
}
# Values of training and generation, of image encoders, and of rotary places, which have no end.
_UNREAD = EVERY | frozenset(
    {
        "attention_dropout",
        "bos_token_id",
        "eos_token_id",
        "image_token_id",
        "image_token_index",
        "initializer_range",
        "max_position_embeddings",
        "max_window_layers",
        "multimodal_projector_bias",
        "pad_token_id",
        "projector_hidden_act",
        "sliding_window",
        "spatial_merge_size",
        "use_cache",
        "vision_config",
        "vision_feature_layer",
    }
)

_VIDEO = frozenset({"video_token_id", "vision_start_token_id", "vision_end_token_id", "vision_token_id"})

LANGUAGE_SHAPING: Mapping[str, Mapping[str, Any]] = {
    "qwen3": _QWEN3,
    "qwen3_penultimate": _QWEN3,
    "qwen3_layers": _QWEN3,
    "qwen3_vl": _QWEN3_VL,
    "qwen3_vl_layers": _QWEN3_VL,
    "mistral_layers": _MISTRAL,
    "ministral3_penultimate": _MINISTRAL3,
    "gemma_penultimate": TEXT_SHAPING["gemma"],
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
LANGUAGE_IGNORED: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("qwen3", "qwen3_penultimate", "qwen3_layers"), _UNREAD),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_layers"), _UNREAD | _VIDEO | {"mrope_section"}),
    **dict.fromkeys(("mistral_layers", "ministral3_penultimate"), _UNREAD - {"sliding_window"}),
    "gemma_penultimate": TEXT_IGNORED["gemma"],
    LANGUAGE: _UNREAD - {"image_token_id"} | _VIDEO,
    # The times of videos; early files spell some fields otherwise as well, with the values of the class.
    VISION: EVERY | frozenset({"initializer_range", "tokens_per_second", "in_chans", "spatial_patch_size", *_ROPE}),
}


# Kinds of graphs of a language model, which is perhaps only a part of the module.
LANGUAGE_MODELS = LANGUAGE_SHAPING.keys() - {VISION}

_ROOTS = ("", "model.", "language_model.", "language_model.model.", "model.language_model.")
_OTHERS = ("lm_head.", "language_model.lm_head.")
_ENCODERS = ("visual.", "vision_tower.", "multi_modal_projector.")
_LAYER = re.compile(r"layers\.(\d+)\.")


def flat_language(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of the language model, which newer files nest, with its rotary places as fields."""
    inner = config.get("text_config")
    flat = {**config, **(inner if isinstance(inner, dict) else {})}
    flat.pop("text_config", None)
    for field in _ROPE:
        rope = flat.pop(field, None)
        flat |= _rotary(rope) if isinstance(rope, dict) else {}
    types = flat.get("layer_types")
    if types is None or (isinstance(types, list) and all(each == "full_attention" for each in types)):
        flat.pop("layer_types", None)
    return flat


def _rotary(rope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of rotary places; `rope_scaling` only if they are scaled."""
    fields = {name: rope[name] for name in ("mrope_section", "rope_theta") if name in rope}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind in ("default", "mrope"):
        return fields
    own = {name: value for name, value in rope.items() if name not in (*fields, "type", "max_position_embeddings")}
    return fields | {"rope_scaling": dict(sorted((own | {"rope_type": kind}).items()))}


def unread_tensors(names: Iterable[str], layers: int) -> tuple[str, ...]:
    """Return the beginnings of names of tensors that no graph of a model with so many `layers` reads.

    `names` are the parameters of the graph. It lacks the layers after the last one that is read, the norm after them,
    the head, and what encodes images.
    """
    names = tuple(names)
    first = 1 + max(int(found[1]) for name in names if (found := _LAYER.match(name)))
    own = [f"layers.{number}." for number in range(first, layers)] + ([] if "norm.weight" in names else ["norm."])
    encoders = (root + name for root in ("", "model.") for name in _ENCODERS)
    return (*_OTHERS, *encoders, *(root + name for root in _ROOTS for name in own))
