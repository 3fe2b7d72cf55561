"""Denoisers as components: UNets, and the transformers of SD3, FLUX, PixArt and Sana.

All take one timestep per row, so that rows at different steps share a call.
"""

from __future__ import annotations

import contextlib
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.transformers import transformer_flux

from ..errors import Refused
from .component import Component
from .values import Value, counts, falling, mask

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = ("batch_size",)
PICTURE = ("height", "width")
TEXT = ("batch_size", "sequence_length")
# Training timesteps; FLUX counts them in thousands.
THOUSAND = Value(ROWS, falling(1000), wide=True)
ONE = Value(ROWS, falling(1), wide=True)
# SDXL's numbers are sizes in pixels; FLUX's places are rows and columns of a grid.
PIXELS, PLACES = counts(1024), counts(64)


def unet(pipeline: Any, folder: str) -> Component:
    """UNets: Stable Diffusion, SDXL (pooled text, sizes), LCM (embedded guidance)."""
    module = getattr(pipeline, folder)
    config = module.config
    _check(config)
    inputs = {
        "sample": Value((*ROWS, config.in_channels, *PICTURE)),
        "timestep": THOUSAND,
        "encoder_hidden_states": Value((*TEXT, config.cross_attention_dim)),
    }
    if config.addition_embed_type == "text_time":
        pooled = pipeline.text_encoder_2.config.projection_dim
        numbers = (config.projection_class_embeddings_input_dim - pooled) // config.addition_time_embed_dim
        inputs["text_embeds"] = Value((*ROWS, pooled))
        inputs["time_ids"] = Value((*ROWS, numbers), PIXELS, wide=True)
    if config.time_cond_proj_dim is not None:
        inputs["timestep_cond"] = Value((*ROWS, config.time_cond_proj_dim))
    return Component(
        folder=folder,
        module=module,
        adaptable=True,
        call=_call_unet,
        inputs=inputs,
        outputs={"out_sample": Value((*ROWS, config.out_channels, *PICTURE))},
    )


def _check(config: Any) -> None:
    """Refuse UNets that want more than text, time, sizes and guidance: what to give them nobody would know."""
    known = {
        "in_channels": (4, 9),
        "addition_embed_type": (None, "text_time"),
        "class_embed_type": (None,),
        "encoder_hid_dim_type": (None,),
    }
    for key, values in known.items():
        if getattr(config, key, None) not in values:
            can = " or ".join(map(str, values))
            raise Refused(f"unet/config.json: {key} {getattr(config, key)!r} can't be exported; {can} can")


def _call_unet(
    module: Any,
    sample: torch.Tensor,
    timestep: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    timestep_cond: torch.Tensor | None = None,
    **added: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    said = module(
        sample, timestep, encoder_hidden_states, timestep_cond=timestep_cond, added_cond_kwargs=added, return_dict=False
    )
    return (said[0],)


def sd3(pipeline: Any, folder: str) -> Component:
    """Stable Diffusion 3 and 3.5."""
    module = getattr(pipeline, folder)
    config = module.config
    return Component(
        folder=folder,
        module=module,
        adaptable=True,
        call=_call,
        inputs={
            "hidden_states": Value((*ROWS, config.in_channels, *PICTURE)),
            "encoder_hidden_states": Value((*TEXT, config.joint_attention_dim)),
            "pooled_projections": Value((*ROWS, config.pooled_projection_dim)),
            "timestep": THOUSAND,
        },
        outputs={"out_hidden_states": Value((*ROWS, config.out_channels, *PICTURE))},
    )


def flux(pipeline: Any, folder: str) -> Component:
    """FLUX.1: latents packed two by two; places of picture and text hold for all rows of a call."""
    module = getattr(pipeline, folder)
    config = module.config
    guidance = {"guidance": Value(ROWS, falling(0.01), wide=True)} if config.guidance_embeds else {}
    return Component(
        folder=folder,
        module=module,
        adaptable=True,
        call=_call,
        inputs={
            "hidden_states": Value((*ROWS, "packed_height_width", config.in_channels)),
            "encoder_hidden_states": Value((*TEXT, config.joint_attention_dim)),
            "pooled_projections": Value((*ROWS, config.pooled_projection_dim)),
            "timestep": ONE,
            "txt_ids": Value(("sequence_length", 3), counts(1), wide=True),
            "img_ids": Value(("packed_height_width", 3), PLACES, wide=True),
            **guidance,
        },
        outputs={"out_hidden_states": Value((*ROWS, "packed_height_width", config.in_channels))},
        traced=_call_flux,
        patch=_traceable_rotation,
    )


def pixart(pipeline: Any, folder: str) -> Component:
    """PixArt-Sigma."""
    module = getattr(pipeline, folder)
    return Component(
        folder=folder,
        module=module,
        adaptable=True,
        call=_call_pixart,
        inputs=_with_mask(module),
        outputs={"out_hidden_states": Value((*ROWS, module.config.out_channels, *PICTURE))},
        masked="attn2",
        patch=lambda: _traceable_places(module),
    )


def sana(pipeline: Any, folder: str) -> Component:
    """Sana: linear attention within the picture."""
    module = getattr(pipeline, folder)
    return Component(
        folder=folder,
        module=module,
        adaptable=True,
        call=_call,
        inputs=_with_mask(module),
        outputs={"out_hidden_states": Value((*ROWS, module.config.out_channels, *PICTURE))},
        masked="attn2",
    )


def _with_mask(module: Any) -> dict[str, Value]:
    config = module.config
    return {
        "hidden_states": Value((*ROWS, config.in_channels, *PICTURE)),
        "encoder_hidden_states": Value((*TEXT, config.caption_channels)),
        "timestep": THOUSAND,
        "encoder_attention_mask": Value(TEXT, mask),
    }


def _call(module: Any, **inputs: Any) -> tuple[torch.Tensor, ...]:
    return (module(**inputs, return_dict=False)[0],)


def _call_pixart(module: Any, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    nothing = {"resolution": None, "aspect_ratio": None}
    return _call(module, **inputs, added_cond_kwargs=nothing)


def _call_flux(
    module: Any, timestep: torch.Tensor, guidance: torch.Tensor | None = None, **inputs: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Embed time and guidance as they come: diffusers rounds them to the latents' type first, 0.9464 to 0.9463."""
    embed = module.time_text_embed
    exact = [1000 * number for number in (timestep, guidance) if number is not None]
    embed.forward = lambda *given: type(embed).forward(embed, *exact, given[-1])
    try:
        return _call(module, timestep=timestep, guidance=guidance, **inputs)
    finally:
        del embed.forward


@contextlib.contextmanager
def _traceable_rotation() -> Iterator[None]:
    """Rotate by slices: diffusers pairs neighbours by a reshape, which would be traced with fixed sizes."""
    kept = transformer_flux.apply_rotary_emb
    transformer_flux.apply_rotary_emb = _rotated
    try:
        yield
    finally:
        transformer_flux.apply_rotary_emb = kept


def _rotated(x: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor], sequence_dim: int = 2) -> torch.Tensor:
    """Rotate neighbours in x [n, tokens, heads, dim] by cos and sin [tokens, dim]; its tokens are at `sequence_dim`."""
    cos, sin = (part[None, :, None] if sequence_dim == 1 else part[None, None] for part in angles)
    turned = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(3)
    return (x.float() * cos + turned.float() * sin).to(x.dtype)


@contextlib.contextmanager
def _traceable_places(module: Any) -> Iterator[None]:
    """Compute the places within the graph: diffusers' table of them is made for the size that is traced."""
    embed = module.pos_embed
    embed.forward = MethodType(_placed, embed)
    try:
        yield
    finally:
        del embed.forward


def _placed(embed: Any, latents: torch.Tensor) -> torch.Tensor:
    """Embed patches of latents [n, c, h, w], with sine and cosine of their places, as diffusers' PatchEmbed does."""
    patches = embed.proj(latents).flatten(2).transpose(1, 2)
    width = patches.shape[-1]
    down, across = (_waves(side // embed.patch_size, width // 2, embed) for side in latents.shape[-2:])
    grid = (down.shape[0], across.shape[0], width // 2)
    places = torch.cat([across[None].expand(grid), down[:, None].expand(grid)], -1)
    return patches + places.reshape(1, -1, width).to(patches.dtype)


def _waves(count: Any, width: int, embed: Any) -> torch.Tensor:
    """Return sine and cosine [count, width] of places along one side, which spans the side trained on."""
    speeds = 1 / 10000 ** (torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    places = torch.arange(count, dtype=torch.float64) * embed.base_size / count / embed.interpolation_scale
    angles = places[:, None] * speeds
    return torch.cat([angles.sin(), angles.cos()], 1)
