"""The fields of text encoders' configurations that shape their graphs, and those that do not; see `fields`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Fields of every configuration of transformers that no graph depends on.
EVERY = frozenset(
    {
        "add_cross_attention",
        "architectures",
        "bad_words_ids",
        "begin_suppress_tokens",
        "chunk_size_feed_forward",
        "cross_attention_hidden_size",
        "decoder_start_token_id",
        "diversity_penalty",
        "do_sample",
        "dropout",
        "dtype",
        "early_stopping",
        "encoder_no_repeat_ngram_size",
        "exponential_decay_length_penalty",
        "finetuning_task",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "id2label",
        "is_decoder",
        "is_encoder_decoder",
        "label2id",
        "length_penalty",
        "max_length",
        "min_length",
        "model_type",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "prefix",
        "problem_type",
        "remove_invalid_values",
        "repetition_penalty",
        "return_dict",
        "return_dict_in_generate",
        "sep_token_id",
        "suppress_tokens",
        "task_specific_params",
        "temperature",
        "tf_legacy_loss",
        "tie_encoder_decoder",
        "tie_word_embeddings",
        "tokenizer_class",
        "top_k",
        "top_p",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "typical_p",
        "use_bfloat16",
    }
)

# Values of training and of the pipelines; they are not in the graph.
_CLIP_IGNORED = frozenset(
    {"attention_dropout", "initializer_range", "initializer_factor", "pad_token_id", "bos_token_id"}
)
_CLIP = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    # The pooled token is the first one with this id. The value 2, which is wrong, means the highest id.
    "eos_token_id": 49407,
}
_T5 = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
}
_T5_IGNORED = frozenset(
    {
        "num_decoder_layers",
        "dropout_rate",
        "initializer_factor",
        "is_encoder_decoder",
        "use_cache",
        "pad_token_id",
        "eos_token_id",
        "classifier_dropout",
        # Of the decoder, which the graph does not have.
        "scale_decoder_outputs",
        # Derived from `feed_forward_proj`.
        "dense_act_fn",
        "is_gated_act",
        # Of older files.
        "n_positions",
        "output_past",
    }
)
_CHATGLM = {
    "num_layers": 28,
    "padded_vocab_size": 65024,
    "hidden_size": 4096,
    "ffn_hidden_size": 13696,
    "kv_channels": 128,
    "num_attention_heads": 32,
    "layernorm_epsilon": 1e-5,
    "rmsnorm": True,
    "apply_residual_connection_post_layernorm": False,
    "add_bias_linear": False,
    "add_qkv_bias": False,
    "multi_query_attention": False,
    "multi_query_group_num": 1,
    "fp32_residual_connection": False,
    "pre_seq_len": None,
}
# Of the cache, training and the norm after the last layer; torch's attention scales and rounds on its own.
_CHATGLM_IGNORED = frozenset(
    {
        "apply_query_key_layer_scaling",
        "attention_dropout",
        "attention_softmax_in_fp32",
        "auto_map",
        "bias_dropout_fusion",
        "classifier_dropout",
        "eos_token_id",
        "hidden_dropout",
        "original_rope",
        "pad_token_id",
        "post_layer_norm",
        "prefix_projection",
        "quantization_bit",
        "seq_length",
        "use_cache",
        "vocab_size",
    }
)
TEXT_SHAPING: Mapping[str, Mapping[str, Any]] = {
    "chatglm": _CHATGLM,
    "clip": _CLIP,
    "clip_projected": _CLIP | {"projection_dim": 512},
    "t5": _T5,
    "masked_t5": _T5,
    "umt5": _T5
    | {"vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6}
    | {"feed_forward_proj": "gated-gelu"},
    "gemma": {
        "vocab_size": 256000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "layer_types": None,
        "attn_logit_softcapping": 50.0,
    },
}

TEXT_IGNORED: Mapping[str, frozenset[str]] = {
    "chatglm": EVERY | _CHATGLM_IGNORED,
    "clip": EVERY | _CLIP_IGNORED | {"projection_dim"},
    "clip_projected": EVERY | _CLIP_IGNORED,
    "t5": EVERY | _T5_IGNORED,
    "masked_t5": EVERY | _T5_IGNORED,
    "umt5": EVERY | _T5_IGNORED,
    "gemma": EVERY
    | frozenset(
        {
            "initializer_range",
            "use_cache",
            "pad_token_id",
            "eos_token_id",
            "bos_token_id",
            "attention_dropout",
            "final_logit_softcapping",
            # `hidden_activation` has replaced it, and the cache is not in the graph.
            "hidden_act",
            "cache_implementation",
            # `sliding_window` has replaced it.
            "sliding_window_size",
        }
    ),
}
