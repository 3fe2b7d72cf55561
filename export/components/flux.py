"""FLUX.1 and Chroma as components, and rotary positions in a form that can be traced for all sizes.

Chroma is FLUX.1 without a pooled text, whose modulation comes from one small network.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.transformers import transformer_flux
from torch.nn import functional

from .component import Component
from .denoisers import CONTROL, POSITIONS, ROWS, TEXT, TIMESTEP_1
from .tensor_specs import TensorSpec, descending, mask, whole_floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

FUNCTION = "apply_rotary_emb"
# Channels that carry a mask into attention; kernels take widths of heads that are multiples of 8.
MASK_CHANNELS = 8


def flux(pipeline: Any, folder: str) -> Component:
    """FLUX.1: latents packed two by two; all rows of a call share the position ids of image and text."""
    module = getattr(pipeline, folder)
    config = module.config
    guidance = {"guidance": TensorSpec(ROWS, descending(0.01), keep_float32=True)} if config.guidance_embeds else {}
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call_flux,
        inputs={
            "hidden_states": TensorSpec((*ROWS, "packed_height_width", config.in_channels)),
            "encoder_hidden_states": TensorSpec((*TEXT, config.joint_attention_dim)),
            "pooled_projections": TensorSpec((*ROWS, config.pooled_projection_dim)),
            "timestep": TIMESTEP_1,
            "txt_ids": TensorSpec(("sequence_length", 3), whole_floats(1), keep_float32=True),
            "img_ids": TensorSpec(("packed_height_width", 3), POSITIONS, keep_float32=True),
            **guidance,
        },
        outputs={"out_hidden_states": TensorSpec((*ROWS, "packed_height_width", module.out_channels))},
        residuals=dict.fromkeys(_flux_residuals(config), TensorSpec((*ROWS, "packed_height_width", module.inner_dim))),
        traced_call=_call_flux_exactly,
        trace_patch=partial(traceable_rotation, transformer_flux),
    )


def _flux_residuals(config: Any) -> list[str]:
    double = [f"{CONTROL}{n}" for n in range(config.num_layers)]
    return double + [f"{CONTROL}single.{n}" for n in range(config.num_single_layers)]


def chroma(pipeline: Any, folder: str) -> Component:
    """Chroma: all rows of a call share the position ids of image and text; the mask is that of the prompt's tokens."""
    module = getattr(pipeline, folder)
    config = module.config
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call_chroma,
        inputs={
            "hidden_states": TensorSpec((*ROWS, "packed_height_width", config.in_channels)),
            "encoder_hidden_states": TensorSpec((*TEXT, config.joint_attention_dim)),
            "encoder_attention_mask": TensorSpec(TEXT, mask),
            "timestep": TIMESTEP_1,
            "txt_ids": TensorSpec(("sequence_length", 3), whole_floats(1), keep_float32=True),
            "img_ids": TensorSpec(("packed_height_width", 3), POSITIONS, keep_float32=True),
        },
        outputs={"out_hidden_states": TensorSpec((*ROWS, "packed_height_width", module.out_channels))},
        traced_call=_call_chroma_exactly,
        trace_patch=partial(traceable_rotation, transformer_flux),
    )


def _call_flux(module: Any, **inputs: Any) -> tuple[torch.Tensor, ...]:
    single = [inputs.pop(name) for name in list(inputs) if name.startswith(f"{CONTROL}single.")]
    double = [inputs.pop(name) for name in list(inputs) if name.startswith(CONTROL)]
    residuals = {"controlnet_block_samples": double or None, "controlnet_single_block_samples": single or None}
    return (module(**residuals, **inputs, return_dict=False)[0],)


def _call_flux_exactly(module: Any, **inputs: Any) -> tuple[torch.Tensor, ...]:
    return call_flux(partial(_call_flux, module), module, **inputs)


def call_flux(
    call: Callable[..., tuple[torch.Tensor, ...]],
    module: Any,
    timestep: torch.Tensor,
    guidance: torch.Tensor | None = None,
    **inputs: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Embed time and guidance without rounding: diffusers first casts them to the latents' type, 0.9464 to 0.9463."""
    embed = module.time_text_embed
    exact = [1000 * number for number in (timestep, guidance) if number is not None]
    embed.forward = lambda *given: type(embed).forward(embed, *exact, given[-1])
    try:
        return call(timestep=timestep, guidance=guidance, **inputs)
    finally:
        del embed.forward


def _counted(hidden_states: torch.Tensor, encoder_attention_mask: torch.Tensor) -> torch.Tensor:
    """Return diffusers' mask [n, tokens of text and image], as floats: one token of padding counts too."""
    n, tokens = hidden_states.shape[:2]
    text = encoder_attention_mask.to(hidden_states.dtype)
    one = torch.ones(1, 1, dtype=hidden_states.dtype)
    return torch.cat([one.expand(n, 1), text[:, :-1], one.expand(n, tokens)], 1)


def _call_chroma(
    module: Any, hidden_states: torch.Tensor, encoder_attention_mask: torch.Tensor, **inputs: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    counted = _counted(hidden_states, encoder_attention_mask)
    return (module(hidden_states=hidden_states, attention_mask=counted, **inputs, return_dict=False)[0],)


def _call_chroma_exactly(
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


@contextlib.contextmanager
def traceable_rotation(module: ModuleType) -> Iterator[None]:
    """Pair neighbours by slices in a module of diffusers while the context is active.

    diffusers' reshape would be traced with fixed sizes.
    """
    original = getattr(module, FUNCTION)
    setattr(module, FUNCTION, _rotate)
    try:
        yield
    finally:
        setattr(module, FUNCTION, original)


def _rotate(x: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor], sequence_dim: int = 2) -> torch.Tensor:
    """Rotate pairs of neighbours in x [n, tokens, heads, dim] by cos and sin [tokens, dim].

    `sequence_dim` is the axis of the tokens.
    """
    cos, sin = (part[None, :, None] if sequence_dim == 1 else part[None, None] for part in angles)
    rotated = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(3)
    return (x.float() * cos + rotated.float() * sin).to(x.dtype)
