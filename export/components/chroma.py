"""Chroma: FLUX.1 without a pooled text, whose modulation comes from one small network."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.transformers import transformer_flux
from torch.nn import functional

from .component import Component
from .denoisers import POSITIONS, ROWS, TEXT, TIMESTEP_1
from .rotation import traceable_rotation
from .tensor_specs import TensorSpec, mask, whole_floats

if TYPE_CHECKING:
    from collections.abc import Iterator

# Channels that carry a mask into attention; kernels take widths of heads that are multiples of 8.
MASK_CHANNELS = 8


def chroma(pipeline: Any, folder: str) -> Component:
    """Chroma: all rows of a call share the position ids of image and text; the mask is that of the prompt's tokens."""
    module = getattr(pipeline, folder)
    config = module.config
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call,
        inputs={
            "hidden_states": TensorSpec((*ROWS, "packed_height_width", config.in_channels)),
            "encoder_hidden_states": TensorSpec((*TEXT, config.joint_attention_dim)),
            "encoder_attention_mask": TensorSpec(TEXT, mask),
            "timestep": TIMESTEP_1,
            "txt_ids": TensorSpec(("sequence_length", 3), whole_floats(1), keep_float32=True),
            "img_ids": TensorSpec(("packed_height_width", 3), POSITIONS, keep_float32=True),
        },
        outputs={"out_hidden_states": TensorSpec((*ROWS, "packed_height_width", module.out_channels))},
        traced_call=_traced_call,
        trace_patch=lambda: traceable_rotation(transformer_flux),
    )


def _counted(hidden_states: torch.Tensor, encoder_attention_mask: torch.Tensor) -> torch.Tensor:
    """Return diffusers' mask [n, tokens of text and image], as floats: one token of padding counts too."""
    n, tokens = hidden_states.shape[:2]
    text = encoder_attention_mask.to(hidden_states.dtype)
    one = torch.ones(1, 1, dtype=hidden_states.dtype)
    return torch.cat([one.expand(n, 1), text[:, :-1], one.expand(n, tokens)], 1)


def _call(
    module: Any, hidden_states: torch.Tensor, encoder_attention_mask: torch.Tensor, **inputs: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    counted = _counted(hidden_states, encoder_attention_mask)
    return (module(hidden_states=hidden_states, attention_mask=counted, **inputs, return_dict=False)[0],)


def _traced_call(
    module: Any,
    hidden_states: torch.Tensor,
    encoder_attention_mask: torch.Tensor,
    timestep: torch.Tensor,
    **inputs: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    embed, dtype = module.time_text_embed, hidden_states.dtype
    embed.forward = lambda _: _modulation_inputs(embed, 1000 * timestep).to(dtype)
    try:
        with _added_mask(_counted(hidden_states, encoder_attention_mask)):
            return (module(hidden_states=hidden_states, timestep=timestep, **inputs, return_dict=False)[0],)
    finally:
        del embed.forward


def _modulation_inputs(embed: Any, timestep: torch.Tensor) -> torch.Tensor:
    """Return the inputs of the modulation's network [n, modulations, channels], float32, without rounding the time."""
    n, modulations = timestep.shape[0], embed.mod_proj.shape[0]
    guidance = embed.guidance_proj(torch.zeros(1)).expand(n, -1)
    times = torch.cat([embed.time_proj(timestep), guidance], 1)[:, None].expand(-1, modulations, -1)
    return torch.cat([times, embed.mod_proj[None].expand(n, -1, -1)], -1)


@contextlib.contextmanager
def _added_mask(counted: torch.Tensor) -> Iterator[None]:
    """Add the product of both tokens' numbers in `counted` [n, tokens] to each score while the context is active.

    diffusers passes this product as a mask of floats, so it raises scores by 1 and hides no token. It is of rank 1, so
    further channels of queries and keys hold it, and attention is fused as if there was no mask.
    """

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **_: Any) -> torch.Tensor:
        width = int(query.shape[3])
        channels = counted[:, :, None, None].expand(-1, -1, query.shape[2], MASK_CHANNELS)
        query = torch.cat([query, channels * (width**0.5 / MASK_CHANNELS)], -1)
        key = torch.cat([key, channels], -1)
        sequences = (each.transpose(1, 2) for each in (query, key, value))
        return functional.scaled_dot_product_attention(*sequences, scale=width**-0.5).transpose(1, 2)

    original = transformer_flux.dispatch_attention_fn
    transformer_flux.dispatch_attention_fn = attend
    try:
        yield
    finally:
        transformer_flux.dispatch_attention_fn = original
