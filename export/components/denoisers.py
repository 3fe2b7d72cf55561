"""Denoisers as components: UNets, and the transformers of SD3, AuraFlow, PixArt and Sana.

All graphs take one timestep per row, so that rows at different steps share a call.
"""

from __future__ import annotations

import contextlib
from math import isqrt
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ExportRefusal
from ..graph.image_attention import attend_to_images
from .component import Component
from .tensor_specs import TensorSpec, descending, mask, whole_floats

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = ("batch_size",)
LATENTS = ("height", "width")
TEXT = ("batch_size", "sequence_length")
# Timesteps as in training; FLUX counts them from 1 to 0.
TIMESTEP_1000 = TensorSpec(ROWS, descending(1000), keep_float32=True)
TIMESTEP_1 = TensorSpec(ROWS, descending(1), keep_float32=True)
# SDXL's `time_ids` are sizes in pixels; FLUX's position ids are rows and columns of a grid.
PIXELS, POSITIONS = whole_floats(1024), whole_floats(64)
QUARTER_TURN = 1.5708
# Prefixes of the names of residuals, and of keys and values of image prompts.
CONTROL, IMAGE = "control.", "image."


def unet(pipeline: Any, folder: str) -> Component:
    """UNets of Stable Diffusion, SDXL (pooled text, sizes), Kolors (projected text) and LCM (embedded guidance)."""
    module = getattr(pipeline, folder)
    config = module.config
    _check(config)
    inputs = {
        "sample": TensorSpec((*ROWS, config.in_channels, *LATENTS)),
        "timestep": TIMESTEP_1000,
        "encoder_hidden_states": TensorSpec((*TEXT, config.encoder_hid_dim or config.cross_attention_dim)),
    }
    if config.addition_embed_type == "text_time":
        pooled = config.encoder_hid_dim or pipeline.text_encoder_2.config.projection_dim
        numbers = (config.projection_class_embeddings_input_dim - pooled) // config.addition_time_embed_dim
        inputs["text_embeds"] = TensorSpec((*ROWS, pooled))
        inputs["time_ids"] = TensorSpec((*ROWS, numbers), PIXELS, keep_float32=True)
    if config.time_cond_proj_dim is not None:
        inputs["timestep_cond"] = TensorSpec((*ROWS, config.time_cond_proj_dim))
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call_unet,
        inputs=inputs,
        outputs={"out_sample": TensorSpec((*ROWS, config.out_channels, *LATENTS))},
        residuals=unet_residuals(config) | _image_keys(module),
    )


def unet_residuals(config: Any) -> dict[str, TensorSpec]:
    """Return the hidden states to which a ControlNet adds: the input of each block, its layers, and the middle."""
    widths = list(config.block_out_channels)
    layers = config.layers_per_block
    counts = [layers] * len(widths) if isinstance(layers, int) else list(layers)
    places = [(widths[0], 0)]
    for level, (width, count) in enumerate(zip(widths, counts, strict=True)):
        places += [(width, level)] * count
        places += [(width, level + 1)] * (level + 1 < len(widths))
    places.append((widths[-1], len(widths) - 1))
    return {f"{CONTROL}{n}": TensorSpec((*ROWS, width, *_level(level))) for n, (width, level) in enumerate(places)}


def _image_keys(module: Any) -> dict[str, TensorSpec]:
    """Return the keys and values of image prompts for each cross attention, in the order of IP-Adapters' files."""
    names = [name.removesuffix(".processor") for name in module.attn_processors]
    layers = {name: module.get_submodule(name).to_k for name in names if name.endswith("attn2")}
    return {
        f"{IMAGE}{name}.{part}": TensorSpec((*ROWS, "image_tokens", layer.out_features))
        for name, layer in layers.items()
        for part in ("K", "V")
    }


def _level(level: int) -> tuple[str, str]:
    """Return the axes of latents at a level of a UNet."""
    return (f"height_{level}", f"width_{level}") if level else LATENTS


def _check(config: Any) -> None:
    """Refuse UNets with inputs that the service cannot supply: it has text, time, sizes and guidance."""
    known = {
        "in_channels": (4, 9),
        "addition_embed_type": (None, "text_time"),
        "class_embed_type": (None,),
        "encoder_hid_dim_type": (None, "text_proj"),
    }
    for key, values in known.items():
        if getattr(config, key, None) not in values:
            valid = " or ".join(map(str, values))
            raise ExportRefusal(f"unet/config.json: {key} must be {valid}; got {getattr(config, key)!r}")


def _call_unet(
    module: Any,
    sample: torch.Tensor,
    timestep: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    timestep_cond: torch.Tensor | None = None,
    **others: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    residuals = [value for name, value in others.items() if name.startswith(CONTROL)]
    with attend_to_images(module, IMAGE, others):
        output = module(
            sample,
            timestep,
            encoder_hidden_states,
            timestep_cond=timestep_cond,
            added_cond_kwargs={name: value for name, value in others.items() if not name.startswith((CONTROL, IMAGE))},
            down_block_additional_residuals=tuple(residuals[:-1]) or None,
            mid_block_additional_residual=residuals[-1] if residuals else None,
            return_dict=False,
        )
    return (output[0],)


def sd3(pipeline: Any, folder: str) -> Component:
    """Stable Diffusion 3 and 3.5."""
    module = getattr(pipeline, folder)
    config = module.config
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call_sd3,
        inputs={
            "hidden_states": TensorSpec((*ROWS, config.in_channels, *LATENTS)),
            "encoder_hidden_states": TensorSpec((*TEXT, config.joint_attention_dim)),
            "pooled_projections": TensorSpec((*ROWS, config.pooled_projection_dim)),
            "timestep": TIMESTEP_1000,
        },
        outputs={"out_hidden_states": TensorSpec((*ROWS, config.out_channels, *LATENTS))},
        residuals={  # the last block changes the text for none
            f"{CONTROL}{n}": TensorSpec((*ROWS, "patches", module.inner_dim)) for n in range(config.num_layers - 1)
        },
    )


def aura_flow(pipeline: Any, folder: str) -> Component:
    """AuraFlow: text embeddings are zeros at padding, which is read like any other token."""
    module = getattr(pipeline, folder)
    config = module.config
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call,
        inputs={
            "hidden_states": TensorSpec((*ROWS, config.in_channels, *LATENTS)),
            "encoder_hidden_states": TensorSpec((*TEXT, config.joint_attention_dim)),
            "timestep": TIMESTEP_1,
        },
        outputs={"out_hidden_states": TensorSpec((*ROWS, module.out_channels, *LATENTS))},
        trace_patch=lambda: _traceable_table(module.pos_embed),
    )


def pixart(pipeline: Any, folder: str) -> Component:
    """PixArt-Sigma, and PixArt-alpha, which may also read the size of the image in pixels."""
    module = getattr(pipeline, folder)
    sizes = {
        "resolution": TensorSpec((*ROWS, 2), PIXELS, keep_float32=True),
        "aspect_ratio": TensorSpec((*ROWS, 1), descending(2), keep_float32=True),
    }
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call_pixart,
        inputs={**_with_mask(module), **(sizes if module.use_additional_conditions else {})},
        outputs={"out_hidden_states": TensorSpec((*ROWS, module.config.out_channels, *LATENTS))},
        trace_patch=lambda: _traceable_positions(module),
    )


def sana(pipeline: Any, folder: str) -> Component:
    """Sana: linear attention within the image. SANA-Sprint also takes the guidance scale, and an angle as its time."""
    module = getattr(pipeline, folder)
    inputs = _with_mask(module)
    if sprint := module.config.guidance_embeds:
        inputs["timestep"] = TensorSpec(ROWS, descending(QUARTER_TURN), keep_float32=True)
        inputs["guidance"] = TensorSpec(ROWS, descending(10), keep_float32=True)
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call_sana_sprint if sprint else _call,
        inputs=inputs,
        outputs={"out_hidden_states": TensorSpec((*ROWS, module.config.out_channels, *LATENTS))},
    )


def _with_mask(module: Any) -> dict[str, TensorSpec]:
    config = module.config
    return {
        "hidden_states": TensorSpec((*ROWS, config.in_channels, *LATENTS)),
        "encoder_hidden_states": TensorSpec((*TEXT, config.caption_channels)),
        "timestep": TIMESTEP_1000,
        "encoder_attention_mask": TensorSpec(TEXT, mask),
    }


def _call(module: Any, **inputs: Any) -> tuple[torch.Tensor, ...]:
    return (module(**inputs, return_dict=False)[0],)


def _call_sd3(module: Any, **inputs: Any) -> tuple[torch.Tensor, ...]:
    residuals = [inputs.pop(name) for name in list(inputs) if name.startswith(CONTROL)]
    if residuals:
        inputs["block_controlnet_hidden_states"] = [*residuals, residuals[-1]]  # one for each block
    return _call(module, **inputs)


def _call_sana_sprint(
    module: Any, hidden_states: torch.Tensor, timestep: torch.Tensor, guidance: torch.Tensor, **inputs: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Call the flow model that SANA-Sprint is distilled from, on latents of unit variance, at an angle.

    As diffusers' SanaSprintPipeline; Chen et al. 2503.09641, section 3.1.
    """
    share = torch.sin(timestep) / (torch.cos(timestep) + torch.sin(timestep))  # of noise
    wide = share[:, None, None, None]
    norm = torch.sqrt(wide**2 + (1 - wide) ** 2)
    x = hidden_states * norm.to(hidden_states.dtype)
    embedded = guidance * module.config.guidance_embeds_scale
    (flow,) = _call(module, hidden_states=x, timestep=share, guidance=embedded, **inputs)
    out = ((1 - 2 * wide) * x.float() + (1 - 2 * wide + 2 * wide**2) * flow.float()) / norm
    return (out.to(flow.dtype),)


def _call_pixart(
    module: Any,
    resolution: torch.Tensor | None = None,
    aspect_ratio: torch.Tensor | None = None,
    **inputs: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    return _call(module, **inputs, added_cond_kwargs={"resolution": resolution, "aspect_ratio": aspect_ratio})


@contextlib.contextmanager
def _traceable_positions(module: Any) -> Iterator[None]:
    """Compute positions in the graph while the context is active: diffusers' table of them has the traced size."""
    embed = module.pos_embed
    embed.forward = MethodType(_embed_patches, embed)
    try:
        yield
    finally:
        del embed.forward


def _embed_patches(embed: Any, latents: torch.Tensor) -> torch.Tensor:
    """Embed patches of latents [n, c, h, w] and their positions, as diffusers' PatchEmbed does."""
    patches = embed.proj(latents).flatten(2).transpose(1, 2)
    width = patches.shape[-1]
    down, across = (_position_waves(side // embed.patch_size, width // 2, embed) for side in latents.shape[-2:])
    grid = (down.shape[0], across.shape[0], width // 2)
    positions = torch.cat([across[None].expand(grid), down[:, None].expand(grid)], -1)
    return patches + positions.reshape(1, -1, width).to(patches.dtype)


def _position_waves(count: Any, width: int, embed: Any) -> torch.Tensor:
    """Return sine and cosine [count, width] of positions along a side, scaled to the side used in training."""
    speeds = 1 / 10000 ** (torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    positions = torch.arange(count, dtype=torch.float64) * embed.base_size / count / embed.interpolation_scale
    angles = positions[:, None] * speeds
    return torch.cat([angles.sin(), angles.cos()], 1)


@contextlib.contextmanager
def _traceable_table(embed: Any) -> Iterator[None]:
    """Cut positions from their table by slices while the context is active: diffusers' indices have the traced size."""

    def forward(latents: torch.Tensor) -> torch.Tensor:
        patch, side = embed.patch_size, isqrt(embed.pos_embed_max_size)
        channels, height, width = latents.shape[1], latents.shape[2] // patch, latents.shape[3] // patch
        blocks = latents.reshape(-1, channels, height, patch, width, patch).permute(0, 2, 4, 1, 3, 5)
        tokens = embed.proj(blocks.flatten(3).flatten(1, 2))
        top, left = side // 2 - height // 2, side // 2 - width // 2
        table = embed.pos_embed.reshape(side, side, -1)[top : top + height, left : left + width]
        positions: torch.Tensor = tokens + table.flatten(0, 1)[None]
        return positions

    embed.forward = forward
    try:
        yield
    finally:
        del embed.forward
