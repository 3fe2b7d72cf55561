"""The transformer of ERNIE-Image as a component: one sequence of the tokens of the image, then of the text."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from ..component import Component
from ..denoisers import LATENTS, ROWS, TEXT, TIMESTEP_1000
from ..tensor_specs import TensorSpec, mask


def transformer(pipeline: Any, folder: str) -> Component:
    """Return the transformer; rows read as many tokens of text as their masks say."""
    module = getattr(pipeline, folder)
    config = module.config
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call,
        inputs={
            "hidden_states": TensorSpec((*ROWS, config.in_channels, *LATENTS)),
            "encoder_hidden_states": TensorSpec((*TEXT, config.text_in_dim)),
            "encoder_attention_mask": TensorSpec(TEXT, mask),
            "timestep": TIMESTEP_1000,
        },
        outputs={"out_hidden_states": TensorSpec((*ROWS, config.out_channels, *LATENTS))},
        traced_call=_traced_call,
    )


def _call(
    module: Any, encoder_hidden_states: torch.Tensor, encoder_attention_mask: torch.Tensor, **inputs: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    lengths = encoder_attention_mask.sum(1)
    return (module(**inputs, text_bth=encoder_hidden_states, text_lens=lengths, return_dict=False)[0],)


def _traced_call(
    module: Any,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    encoder_attention_mask: torch.Tensor,
    timestep: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Compute the module's output with rows as the first axis, where diffusers has tokens."""
    patch = module.patch_size
    rows, columns = (side // patch for side in hidden_states.shape[2:])
    text = encoder_hidden_states if module.text_proj is None else module.text_proj(encoder_hidden_states)
    image = module.x_embedder(hidden_states)
    x = torch.cat([image, text], 1)
    angles = module.pos_embed(_places(encoder_attention_mask, rows, columns))
    rotation = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    read = encoder_attention_mask > 0
    seen = torch.cat([torch.ones_like(image[..., 0], dtype=torch.bool), read], 1)[:, None, None]
    time = module.time_embedding(module.time_proj(timestep).to(x.dtype))
    changes = module.adaLN_modulation(time)[:, None].split(module.hidden_size, dim=-1)
    for layer in module.layers:
        x = _layer(layer, x, rotation, changes, seen)
    scale, shift = module.final_norm.linear(time)[:, None].split(module.hidden_size, dim=-1)
    out = module.final_linear(module.final_norm.norm(x[:, : rows * columns]) * (1 + scale) + shift)
    blocks = out.reshape(-1, rows, columns, patch, patch, module.out_channels).permute(0, 5, 1, 3, 2, 4)
    return (blocks.reshape(-1, module.out_channels, rows * patch, columns * patch),)


def _places(mask: torch.Tensor, rows: Any, columns: Any) -> torch.Tensor:
    """Return the places [n, tokens, 3] of the image, behind the length of the text, and of the text."""
    lengths = mask.sum(1).float()[:, None, None]
    down = torch.arange(rows).float()[:, None].expand(rows, columns)
    across = torch.arange(columns).float()[None].expand(rows, columns)
    grid = torch.stack([down, across], -1).reshape(1, -1, 2)
    image = torch.cat([lengths + 0 * grid[..., :1], (grid + 0 * lengths)], -1)
    words = torch.arange(mask.shape[1]).float()[None, :, None] + 0 * lengths
    return torch.cat([image, torch.cat([words, 0 * words, 0 * words], -1)], 1)


def _layer(
    layer: Any,
    x: torch.Tensor,
    rotation: tuple[torch.Tensor, torch.Tensor],
    changes: tuple[torch.Tensor, ...],
    seen: torch.Tensor,
) -> torch.Tensor:
    shift, scale, gate, shift_2, scale_2, gate_2 = changes
    x = x + gate * _attend(layer.self_attention, layer.adaLN_sa_ln(x) * (1 + scale) + shift, rotation, seen)
    return x + gate_2 * layer.mlp(layer.adaLN_mlp_ln(x) * (1 + scale_2) + shift_2)


def _attend(
    attention: Any, x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], seen: torch.Tensor
) -> torch.Tensor:
    query, key, value = (
        layer(x).unflatten(-1, (attention.heads, -1)) for layer in (attention.to_q, attention.to_k, attention.to_v)
    )
    heads = (_rotate(attention.norm_q(query), rotation), _rotate(attention.norm_k(key), rotation), value)
    attended = functional.scaled_dot_product_attention(*(each.transpose(1, 2) for each in heads), attn_mask=seen)
    result: torch.Tensor = attention.to_out[0](attended.transpose(1, 2).flatten(2))
    return result


def _rotate(x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotate x [n, tokens, heads, dim], whose first half is paired with its second half."""
    cos, sin = rotation
    first, second = x.split(int(x.shape[-1]) // 2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin
