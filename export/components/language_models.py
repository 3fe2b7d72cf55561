"""Language models that encode prompts: the states of some of their layers, for Qwen, Mistral and others alike.

A graph has the layers up to the last one that is read. The others, the head that continues a text and encoders of
images are not in it, and their weights are neither read nor loaded.

The layers are traced here instead of in transformers' code, which gives seven times the nodes. In float16 graphs the
sum that passes through all layers is float32, as the output, and products before it are scaled: Qwen's models, which
are trained in bfloat16, overflow float16 there (QwenLM/Qwen3, issues 826 and 868).
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from ..errors import ExportRefusal
from ..graph.fused_operators import split_heads
from .component import Component
from .tensor_specs import TensorSpec, integers, mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

IDS = ("batch_size", "sequence_length")
# Kinds of rotary positions whose speeds do not depend on the length of the prompt.
ROTATIONS = ("default", "linear", "llama3", "yarn")
# Attention of Ministral 3 changes beyond this position, which no prompt reaches.
MIN_POSITIONS = 4096
# The product within a feed-forward network is divided by this power of two in float16, and its result multiplied.
HEADROOM = 64.0


def language_model(*layers: int) -> Callable[[Any, str], Component]:
    """Return the function that makes the component of a language model, whose output are states of `layers`.

    The layers are counted as in transformers: 0 is the embeddings, -1 the last layer, whose states are normalised. The
    states of several layers follow each other in the last axis.
    """
    return partial(_component, layers=layers)


def _component(pipeline: Any, folder: str, layers: Sequence[int]) -> Component:
    core = core_of(getattr(pipeline, folder))
    config, numbers = core.config, layer_numbers(core, layers)
    return Component(
        folder=folder,
        module=up_to(core, max(numbers)),
        call=lambda _, input_ids, attention_mask: _reference(core, numbers, input_ids, attention_mask),
        traced_call=lambda module, input_ids, attention_mask: (
            read(module, module.embed_tokens(input_ids), attention_mask, numbers),
        ),
        inputs={"input_ids": TensorSpec(IDS, integers(config.vocab_size)), "attention_mask": TensorSpec(IDS, mask)},
        outputs={"prompt_embeds": TensorSpec((*IDS, config.hidden_size * len(layers)))},
    )


def core_of(module: Any) -> Any:
    """Return the language model of a module that also has a head, or encoders of images."""
    inner = getattr(module, "model", module)
    return getattr(inner, "language_model", inner)


def layer_numbers(core: Any, layers: Sequence[int]) -> tuple[int, ...]:
    """Return layers counted from the first one. Raises ExportRefusal for models that cannot be read."""
    config, count = core.config, core.config.num_hidden_layers
    for layer in layers:
        if not -count <= layer <= count:
            raise ExportRefusal(f"config.json: num_hidden_layers must be at least {layer}; got {count}")
    if set(getattr(config, "layer_types", None) or ()) - {"full_attention"} or getattr(config, "sliding_window", None):
        raise ExportRefusal("config.json: layers with a sliding window are not supported")
    rope = config.rope_parameters
    if rope.get("rope_type", "default") not in ROTATIONS:
        raise ExportRefusal(f"config.json: rope_type must be one of {', '.join(ROTATIONS)}; got {rope['rope_type']!r}")
    if rope.get("llama_4_scaling_beta") and rope["original_max_position_embeddings"] < MIN_POSITIONS:
        raise ExportRefusal(f"config.json: original_max_position_embeddings must be at least {MIN_POSITIONS}")
    return tuple(layer if layer >= 0 else count + 1 + layer for layer in layers)


def up_to(core: Any, last: int) -> Any:
    """Return a copy of a language model with its first `last` layers; it shares the weights with the original.

    The copy has the last norm only if it has all layers.
    """
    short = copy.copy(core)
    short._modules = dict(core._modules)  # noqa: SLF001 - the copy must not change the original
    short.layers = torch.nn.ModuleList(core.layers[:last])
    if last < len(core.layers):
        short.norm = torch.nn.Identity()
    return short


def _reference(
    core: Any, layers: Sequence[int], input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Return what transformers computes."""
    states = core(input_ids, attention_mask, use_cache=False, output_hidden_states=True).hidden_states
    return (torch.cat([states[layer] for layer in layers], -1),)


def read(
    core: Any,
    embeds: torch.Tensor,
    attention_mask: torch.Tensor,
    layers: Sequence[int],
    position_ids: torch.Tensor | None = None,
    axes: Sequence[int] = (),
) -> torch.Tensor:
    """Return the states of `layers` for `embeds` [n, tokens, dim], one behind the other: [n, tokens, layers * dim].

    `position_ids` [n, 3, tokens] are frames, rows and columns, for models that read images, and `axes` those of
    `position_axes`; by default tokens are counted.
    """
    x = embeds.float() if embeds.dtype != torch.float32 else embeds
    if position_ids is None:
        places = torch.arange(x.shape[1], dtype=torch.float32)[None, :, None]
    else:
        places = position_ids.transpose(1, 2)[..., torch.tensor(axes)].float()
    rotation = _rotation(core.rotary_emb, places, embeds.dtype)
    seen = _causal_mask(attention_mask)
    states = {0: x} if 0 in layers else {}
    for number, layer in enumerate(core.layers, 1):
        x = _layer(layer, x, rotation, seen)
        if number in layers:
            states[number] = core.norm(x) if number == core.config.num_hidden_layers else x
    chosen = [states[layer] for layer in layers]
    return chosen[0] if len(chosen) == 1 else torch.cat([state.to(x.dtype) for state in chosen], -1)


def position_axes(core: Any) -> tuple[int, ...]:
    """Return the axis of the positions that each speed of rotation turns with: 0 frame, 1 row, 2 column.

    It is asked of transformers' module, and must not be traced.
    """
    count = len(core.rotary_emb.inv_freq)
    axes = torch.arange(3.0)[:, None, None, None].repeat(1, 1, 1, count)
    return tuple(map(int, core.rotary_emb.recomposition_frequencies(axes)[0, 0, :count]))


def _causal_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """Return which keys each query sees: those before it that are no padding, bool [n, 1, queries, keys]."""
    places = torch.arange(attention_mask.shape[1])
    return (places[None] <= places[:, None])[None, None] & attention_mask.bool()[:, None, None]


def _rotation(rotary: Any, places: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosine and signed sine [n or 1, tokens, 1, dim of a head] of places [n or 1, tokens, 1 or speeds]."""
    angles = places * rotary.inv_freq.float()
    cos, sin = (part[:, :, None] * rotary.attention_scaling for part in (angles.cos(), angles.sin()))
    return torch.cat([cos, cos], -1).to(dtype), torch.cat([-sin, sin], -1).to(dtype)


def _rotate(x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotate x [n, tokens, heads, dim], whose first half is paired with its second half."""
    cos, sin = rotation
    first, second = x.split(int(x.shape[-1]) // 2, -1)
    return x * cos + torch.cat([second, first], -1) * sin


def _layer(
    layer: Any, x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], seen: torch.Tensor
) -> torch.Tensor:
    x = x + _attend(layer.self_attn, layer.input_layernorm(x), rotation, seen)
    return x + _feed_forward(layer.mlp, layer.post_attention_layernorm(x))


def _attend(
    attention: Any, x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], seen: torch.Tensor
) -> torch.Tensor:
    width = attention.head_dim
    layers = (attention.q_proj, attention.k_proj, attention.v_proj)
    query, key, value = (split_heads(layer(x), layer.out_features // width) for layer in layers)
    if hasattr(attention, "q_norm"):
        query, key = attention.q_norm(query), attention.k_norm(key)
    heads = [each.transpose(1, 2) for each in (_rotate(query, rotation), _rotate(key, rotation), value)]
    attended = functional.scaled_dot_product_attention(*heads, attn_mask=seen, scale=attention.scaling, enable_gqa=True)
    result: torch.Tensor = attention.o_proj(attended.transpose(1, 2).flatten(2))
    return result


def _feed_forward(network: Any, x: torch.Tensor) -> torch.Tensor:
    gate, up = network.act_fn(network.gate_proj(x)), network.up_proj(x)
    if x.dtype != torch.float16:
        product: torch.Tensor = network.down_proj(gate * up)
        return product
    small: torch.Tensor = network.down_proj(gate * (1 / HEADROOM) * up)
    return small.float() * HEADROOM
