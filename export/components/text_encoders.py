"""Text encoders as components: CLIP, T5 and Gemma."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from transformers import masking_utils

from ..errors import ExportRefusal
from .component import Component
from .tensor_specs import TensorSpec, integers, mask

if TYPE_CHECKING:
    from collections.abc import Iterator

IDS = ("batch_size", "sequence_length")


def clip(pipeline: Any, folder: str) -> Component:
    """CLIP: the pooled text, the hidden states of every layer, and the normalised last hidden state.

    Each family reads the layers that it needs; unread outputs cost nothing.
    """
    module = getattr(pipeline, folder)
    config = module.config
    if getattr(config, "use_attention_mask", False):
        raise ExportRefusal(f"{folder}/config.json: use_attention_mask must be false: masked padding is not supported")
    projected = hasattr(module, "text_projection")
    pooled = {"text_embeds": ("batch_size", config.projection_dim)}
    plain = {"pooler_output": ("batch_size", config.hidden_size)}
    shapes = {"last_hidden_state": (*IDS, config.hidden_size), **(pooled if projected else plain)}
    shapes |= {f"hidden_states.{n}": (*IDS, config.hidden_size) for n in range(config.num_hidden_layers + 1)}
    pooled_name = "text_embeds" if projected else "pooler_output"

    def call(module: Any, input_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = module(input_ids, output_hidden_states=True)
        return output.last_hidden_state, output[pooled_name], *output.hidden_states

    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        max_tokens=config.max_position_embeddings,
        embedding_table="text_model.embeddings.token_embedding.weight",
        call=call,
        inputs={"input_ids": TensorSpec(IDS, integers(config.vocab_size))},
        outputs={name: TensorSpec(axes) for name, axes in shapes.items()},
    )


def t5(pipeline: Any, folder: str) -> Component:
    """T5's encoder as SD3 and FLUX call it: without a mask, so padding is read like any other token."""
    module = getattr(pipeline, folder)
    return Component(
        folder=folder,
        module=module,
        call=lambda module, input_ids: module(input_ids)[:1],
        inputs={"input_ids": TensorSpec(IDS, integers(module.config.vocab_size))},
        outputs={"last_hidden_state": TensorSpec((*IDS, module.config.d_model))},
    )


def masked_t5(pipeline: Any, folder: str) -> Component:
    """T5's encoder as PixArt calls it: padding is masked."""
    module = getattr(pipeline, folder)
    return Component(
        folder=folder,
        module=module,
        call=lambda module, input_ids, attention_mask: module(input_ids, attention_mask=attention_mask)[:1],
        inputs={
            "input_ids": TensorSpec(IDS, integers(module.config.vocab_size)),
            "attention_mask": TensorSpec(IDS, mask),
        },
        outputs={"last_hidden_state": TensorSpec((*IDS, module.config.d_model))},
    )


def gemma(pipeline: Any, folder: str) -> Component:
    """Gemma 2: a decoder used as an encoder of the prompt; it generates no tokens."""
    module = getattr(pipeline, folder)
    return Component(
        folder=folder,
        module=module,
        call=lambda module, input_ids, attention_mask: (
            module(input_ids, attention_mask=attention_mask, use_cache=False)[0],
        ),
        inputs={
            "input_ids": TensorSpec(IDS, integers(module.config.vocab_size)),
            "attention_mask": TensorSpec(IDS, mask),
        },
        outputs={"last_hidden_state": TensorSpec((*IDS, module.config.hidden_size))},
        trace_patch=_traceable_masks,
    )


@contextlib.contextmanager
def _traceable_masks() -> Iterator[None]:
    """Make masks by broadcasting while the context is active.

    transformers maps a function over all positions, which cannot be traced.
    """
    functions = masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
    functions["sdpa"], functions["eager"] = _boolean_mask, _additive_mask
    try:
        yield
    finally:
        # Assigned functions take precedence over registered ones, also over those registered later.
        del functions["sdpa"], functions["eager"]


def _boolean_mask(
    batch_size: int,
    cache_position: torch.Tensor,
    kv_length: int,
    kv_offset: int = 0,
    mask_function: Any = masking_utils.causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    **_: Any,
) -> torch.Tensor:
    """Return which keys each query attends to, bool [n, 1, queries, keys]."""
    if attention_mask is not None:
        padding = masking_utils.padding_mask_function(attention_mask.bool())
        mask_function = masking_utils.and_masks(mask_function, padding)
    rows = torch.arange(batch_size)[:, None, None, None]
    keys = torch.arange(kv_length)[None, None, None, :] + kv_offset
    seen = mask_function(rows, torch.zeros(1, 1, 1, 1, dtype=torch.long), cache_position[None, None, :, None], keys)
    return seen.expand(batch_size, 1, cache_position.shape[0], kv_length)


def _additive_mask(*positions: Any, dtype: torch.dtype = torch.float32, **options: Any) -> torch.Tensor:
    """Return the mask to add to the scores [n, 1, queries, keys]: 0, or the lowest finite number."""
    seen = _boolean_mask(*positions, **options)
    return torch.where(seen, torch.zeros((), dtype=dtype), torch.full((), torch.finfo(dtype).min, dtype=dtype))
