"""The vision tower of Qwen2.5-VL as a component: patches of one image to embeddings of its tokens.

What depends on the image's size comes in as numbers (`service.models.text.vision`): transformers computes it by lists,
which cannot be traced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import rotate_half

from tintype.service.models.text.vision import FRAMES, MERGED, PATCH, SIDE, WINDOW, WINDOW_PATCHES, vision_inputs

from ..errors import ExportRefusal
from .component import Component
from .tensor_specs import TensorSpec, integers, whole_floats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .tensor_specs import ExampleSize

FOLDER = "vision_encoder"
# What the service computes with.
SIZES = {
    "patch_size": PATCH,
    "spatial_merge_size": MERGED,
    "temporal_patch_size": FRAMES,
    "window_size": WINDOW * SIDE,
    "in_channels": 3,
}


def vision(visual: Any) -> Component:
    """Return the vision tower `visual` as the component `vision_encoder`.

    Raises ExportRefusal if it cuts images into other patches or windows than the service does.
    """
    config = visual.config
    for key, value in SIZES.items():
        if getattr(config, key) != value:
            raise ExportRefusal(f"vision_config: {key} must be {value}; got {getattr(config, key)!r}")
    return Component(
        folder=FOLDER,
        module=visual,
        call=_call,
        traced_call=_traced_call,
        inputs={
            "pixel_values": TensorSpec(("patches", 3 * FRAMES * PATCH**2)),
            "position_ids": TensorSpec(("patches", 2), whole_floats(64), keep_float32=True),
            "window_patches": TensorSpec(("windows", WINDOW_PATCHES), integers(1)),
            "patch_slots": TensorSpec(("patches",), integers(1)),
        },
        outputs={"image_embeds": TensorSpec(("image_tokens", config.out_hidden_size))},
        given=_example,
    )


def _example(size: ExampleSize) -> Mapping[str, Any]:
    """Return the inputs for an image whose windows are not all full."""
    sides = (SIDE * (size.height // 2 + 1), SIDE * (size.width // 2 + 2))
    levels = np.random.default_rng(size.rows).integers(0, 256, (3, *sides), np.uint8)
    inputs = vision_inputs(levels)
    return inputs._asdict() | {"position_ids": inputs.position_ids.astype(np.float32)}


def _call(
    visual: Any,
    pixel_values: torch.Tensor,
    position_ids: torch.Tensor,
    window_patches: torch.Tensor,
    patch_slots: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Call transformers' module, which takes patches in the order of tokens, and computes windows and places."""
    del window_patches, patch_slots
    grid = (position_ids.amax(0) + 1).long()
    tokens = position_ids[:: MERGED**2].long() // MERGED
    places = tokens[:, 0] * (grid[1] // MERGED) + tokens[:, 1]
    patches = torch.empty_like(pixel_values).reshape(len(places), MERGED**2, -1)
    patches[places] = pixel_values.reshape(patches.shape)
    read = visual(patches.flatten(0, 1), grid_thw=torch.tensor([[1, *grid.tolist()]]))
    return (read.pooler_output[places],)


def _traced_call(
    visual: Any,
    pixel_values: torch.Tensor,
    position_ids: torch.Tensor,
    window_patches: torch.Tensor,
    patch_slots: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    x = pixel_values @ visual.patch_embed.proj.weight.flatten(1).T
    speeds = visual.rotary_pos_emb.inv_freq
    angles = (position_ids[..., None] * speeds).flatten(1)
    angles = torch.cat([angles, angles], -1)
    rotation = angles.cos()[:, None], angles.sin()[:, None]
    for number, block in enumerate(visual.blocks):
        whole = number in visual.fullatt_block_indexes
        windows = None if whole else (window_patches, patch_slots)
        x = x + block.attn.proj(_attend(block.attn, block.norm1(x), rotation, windows))
        x = x + block.mlp(block.norm2(x))
    merger = visual.merger
    return (merger.mlp(merger.ln_q(x).reshape(-1, merger.hidden_size)),)


def _attend(
    attention: Any,
    x: torch.Tensor,
    rotation: tuple[torch.Tensor, torch.Tensor],
    windows: tuple[torch.Tensor, torch.Tensor] | None,
) -> torch.Tensor:
    """Compute attention over the patches x [p, dim]: of all of them, or within windows."""
    cos, sin = rotation
    query, key, value = attention.qkv(x).reshape(-1, 3, attention.num_heads, attention.head_dim).unbind(1)
    query, key = ((each.float() * cos + rotate_half(each.float()) * sin).to(x.dtype) for each in (query, key))
    if windows is None:
        sequences = (each.transpose(0, 1)[None] for each in (query, key, value))
        return functional.scaled_dot_product_attention(*sequences)[0].transpose(0, 1).flatten(1)
    patches, slots = windows
    sequences = (each[patches.clamp(min=0)].transpose(1, 2) for each in (query, key, value))
    mask = (patches >= 0)[:, None, None]
    attended = functional.scaled_dot_product_attention(*sequences, attn_mask=mask)
    return attended.transpose(1, 2).reshape(-1, attention.qkv.in_features)[slots]
