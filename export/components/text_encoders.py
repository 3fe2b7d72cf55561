"""Text encoders as components: CLIP, T5 and Gemma."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers import masking_utils
from transformers.models.clip.modeling_clip import CLIPAttention
from transformers.models.t5.modeling_t5 import T5Attention

from ..errors import ExportRefusal
from ..graph.fused_operators import join_heads, split_heads
from .component import Component
from .language_models import core_of, up_to
from .tensor_specs import TensorSpec, integers, mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IDS = ("batch_size", "sequence_length")


def clip(pipeline: Any, folder: str) -> Component:
    """CLIP: the pooled text, the hidden states of every layer, and the normalised last hidden state.

    Each family reads the layers that it needs; unread outputs cost nothing.
    """
    module = _with_published_names(getattr(pipeline, folder))
    config = module.config
    if getattr(config, "use_attention_mask", False):
        raise ExportRefusal(f"{folder}/config.json: use_attention_mask must be false: masked padding is not supported")
    projected = hasattr(module, "text_projection")
    pooled = {"text_embeds": ("batch_size", config.projection_dim)}
    plain = {"pooler_output": ("batch_size", config.hidden_size)}
    shapes = {"last_hidden_state": (*IDS, config.hidden_size), **(pooled if projected else plain)}
    shapes |= {f"hidden_states.{n}": (*IDS, config.hidden_size) for n in range(config.num_hidden_layers + 1)}
    pooled_name = "text_embeds" if projected else "pooler_output"
    if not projected:  # models that leave out the last layers normalise the one before
        shapes |= {f"normed_states.{n}": (*IDS, config.hidden_size) for n in range(config.num_hidden_layers)}

    def call(module: Any, input_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = module(input_ids, output_hidden_states=True)
        norm = module.text_model.final_layer_norm
        normed = () if projected else (norm(state) for state in output.hidden_states[:-1])
        return output.last_hidden_state, output[pooled_name], *output.hidden_states, *normed

    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        max_tokens=config.max_position_embeddings,
        embedding_table="text_model.embeddings.token_embedding.weight",
        call=call,
        inputs={"input_ids": TensorSpec(IDS, integers(config.vocab_size))},
        outputs={name: TensorSpec(axes) for name, axes in shapes.items()},
        trace_patch=lambda: _traceable_attention(CLIPAttention, _attend_clip),
    )


class _TextModel(torch.nn.Module):
    """CLIPTextModel with the parameters' published names, which begin with `text_model.`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text_model = model
        self.config = model.config

    def forward(self, *values: torch.Tensor, **options: Any) -> Any:
        return self.text_model(*values, **options)


def _with_published_names(model: Any) -> torch.nn.Module:
    return model if hasattr(model, "text_model") else _TextModel(model)


def t5(pipeline: Any, folder: str) -> Component:
    """T5's encoder as SD3 and FLUX call it: without a mask, so padding is read like any other token."""
    module = getattr(pipeline, folder)
    return Component(
        folder=folder,
        module=module,
        call=lambda module, input_ids: module(input_ids)[:1],
        inputs={"input_ids": TensorSpec(IDS, integers(module.config.vocab_size))},
        outputs={"last_hidden_state": TensorSpec((*IDS, module.config.d_model))},
        trace_patch=lambda: _traceable_attention(T5Attention, _attend_t5),
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
        trace_patch=lambda: _traceable_attention(T5Attention, _attend_t5),
        traced_call=_call_masked_t5,
    )


def umt5(pipeline: Any, folder: str) -> Component:
    """UMT5's encoder as AuraFlow calls it: padding is masked, and each layer has its own position bias."""
    return replace(masked_t5(pipeline, folder), traced_call=None, trace_patch=traceable_masks)


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
        trace_patch=traceable_masks,
    )


def penultimate_gemma(pipeline: Any, folder: str) -> Component:
    """Gemma 2 as Lumina-Image 2 reads it: the last layer but one, without a norm; the last one is not in the graph."""
    core = core_of(getattr(pipeline, folder))
    return Component(
        folder=folder,
        module=up_to(core, core.config.num_hidden_layers - 1),
        call=lambda _, input_ids, attention_mask: (
            core(input_ids, attention_mask=attention_mask, use_cache=False, output_hidden_states=True).hidden_states[
                -2
            ],
        ),
        inputs={
            "input_ids": TensorSpec(IDS, integers(core.config.vocab_size)),
            "attention_mask": TensorSpec(IDS, mask),
        },
        outputs={"prompt_embeds": TensorSpec((*IDS, core.config.hidden_size))},
        traced_call=lambda module, input_ids, attention_mask: (
            module(input_ids, attention_mask=attention_mask, use_cache=False)[0],
        ),
        trace_patch=traceable_masks,
    )


@contextlib.contextmanager
def _traceable_attention(kind: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Replace the attention of a class by a function while the context is active.

    Traced of transformers' code, T5's attention has a third more nodes: each reshape has its own of the batch's size.
    """
    original = kind.forward
    kind.forward = forward
    try:
        yield
    finally:
        kind.forward = original


def _attend_clip(
    attention: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
) -> tuple[torch.Tensor, None]:
    """Attend to earlier tokens: transformers makes no mask for that, as no token is padding."""
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    heads = (split_heads(each(hidden_states), attention.num_heads).transpose(1, 2) for each in projections)
    causal = attention_mask is None
    attended = functional.scaled_dot_product_attention(
        *heads, attn_mask=attention_mask, is_causal=causal, scale=attention.scale
    )
    return attention.out_proj(join_heads(attended.transpose(1, 2))), None


def _attend_t5(
    attention: Any, hidden_states: torch.Tensor, position_bias: torch.Tensor | None = None, **_: Any
) -> tuple[torch.Tensor, torch.Tensor, None]:
    """Attend with the position bias, which the first layer computes for all."""
    projections = (attention.q, attention.k, attention.v)
    heads = (split_heads(each(hidden_states), attention.n_heads).transpose(1, 2) for each in projections)
    tokens = hidden_states.shape[1]
    bias = attention.compute_bias(tokens, tokens) if position_bias is None else position_bias
    attended = functional.scaled_dot_product_attention(*heads, attn_mask=bias, scale=attention.scaling)
    return attention.o(join_heads(attended.transpose(1, 2))), bias, None


@contextlib.contextmanager
def traceable_masks() -> Iterator[None]:
    """Make one mask that all layers add to their scores while the context is active.

    transformers makes boolean masks, which each layer converts, or leaves the causal mask to each layer.
    """
    functions = masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
    functions["sdpa"] = functions["eager"] = _additive_mask
    try:
        yield
    finally:
        # Assigned functions take precedence over registered ones, also over those registered later.
        del functions["sdpa"], functions["eager"]


def _additive_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    mask_function: Any,
    attention_mask: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    **_: Any,
) -> torch.Tensor:
    """Return the mask to add to the scores [n or 1, 1, queries, keys]: 0, or the lowest finite number."""
    rows, keys = (torch.arange(length) for length in (batch_size, kv_length))
    queries = torch.arange(q_length)[None, None, :, None]
    seen = mask_function(rows[:, None, None, None], 0, queries, keys[None, None, None, :])
    if attention_mask is not None:
        seen = seen & attention_mask.bool()[:, None, None, :]
    return _lowest_outside(seen, dtype)


def _lowest_outside(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return 0 where `seen` is true, and the lowest finite number elsewhere."""
    return torch.where(seen, torch.zeros((), dtype=dtype), torch.full((), torch.finfo(dtype).min, dtype=dtype))


def _call_masked_t5(module: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Call T5 with padding masked; the mask is added once, to the position bias, instead of in each layer."""
    first = module.encoder.block[0].layer[0].SelfAttention
    outside = _lowest_outside(attention_mask.bool()[:, None, None, :], module.dtype)
    first.compute_bias = lambda *sizes, **options: type(first).compute_bias(first, *sizes, **options) + outside
    try:
        return module(input_ids)[:1]
    finally:
        del first.compute_bias
