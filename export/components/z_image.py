"""Z-Image and Lumina-Image 2 as components: transformers over one sequence of text and image tokens.

diffusers' modules take lists of rows, rotate in complex numbers and take lengths from Python, none of which can be
traced. The calls here compute the same in tensors. Both graphs take the sampler's time, 0 to 1000, and give the
velocity of a flow: `1 - time` and the sign of diffusers' pipelines are inside.

Text stays float32 in float16 graphs up to its first norm: language models give numbers that float16 does not hold.
Rows of a call have text of one length, a whole number of blocks for Z-Image:

- Z-Image fills the last block of each text with a learnt token, so nothing is masked.
- Lumina-Image 2 masks padding. Image tokens have the places that follow the row's real text tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from ..errors import ExportRefusal
from ..graph.rotary_attention import rotation, traceable_blocks
from .component import Component
from .denoisers import LATENTS, ROWS, TEXT, TIMESTEP_1000
from .tensor_specs import TEXT_BLOCK, TensorSpec, mask

if TYPE_CHECKING:
    from collections.abc import Sequence

PATCH = 2
PATCHES = f"{PATCH}-1"  # Z-Image's name for patches of 2 by 2 latents of one frame
BLOCKS = ("batch_size", "sequence_blocks")


def z_image(pipeline: Any, folder: str) -> Component:
    """Z-Image and Z-Image-Turbo: text in whole blocks, of which `encoder_attention_mask` marks the real tokens."""
    module = getattr(pipeline, folder)
    config = module.config
    _check(folder, "all_patch_size", config.all_patch_size, PATCH)
    _check(folder, "all_f_patch_size", config.all_f_patch_size, 1)
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call_z_image,
        inputs={
            "hidden_states": TensorSpec((*ROWS, config.in_channels, *LATENTS)),
            "encoder_hidden_states": TensorSpec((*BLOCKS, config.cap_feat_dim), keep_float32=True),
            "timestep": TIMESTEP_1000,
            "encoder_attention_mask": TensorSpec(BLOCKS, last_block_mask),
        },
        outputs={"out_hidden_states": TensorSpec((*ROWS, config.in_channels, *LATENTS))},
        traced_call=_trace_z_image,
        trace_patch=lambda: traceable_blocks(module),
    )


def lumina2(pipeline: Any, folder: str) -> Component:
    """Lumina-Image 2: text with masked padding on the right."""
    module = getattr(pipeline, folder)
    config = module.config
    _check(folder, "patch_size", [config.patch_size], PATCH)
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call_lumina2,
        inputs={
            "hidden_states": TensorSpec((*ROWS, config.in_channels, *LATENTS)),
            "encoder_hidden_states": TensorSpec((*TEXT, config.cap_feat_dim), keep_float32=True),
            "timestep": TIMESTEP_1000,
            "encoder_attention_mask": TensorSpec(TEXT, mask),
        },
        outputs={"out_hidden_states": TensorSpec((*ROWS, module.out_channels, *LATENTS))},
        traced_call=_trace_lumina2,
        trace_patch=lambda: traceable_blocks(module),
    )


def _check(folder: str, field: str, sizes: Sequence[int], wanted: int) -> None:
    """Refuse patches of other sizes, which the calls below do not lay out."""
    if list(sizes) != [wanted]:
        raise ExportRefusal(f"{folder}/config.json: {field} must be {wanted}; got {sizes}")


def last_block_mask(_: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return a mask, int64, whose padding is within the last block: each row reads fewer tokens than the one before."""
    rows, tokens = shape
    ends = np.linspace(tokens, tokens - TEXT_BLOCK + 1, rows).astype(np.int64)
    return (np.arange(tokens) < ends[:, None]).astype(np.int64)


def _call_z_image(
    module: Any,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    timestep: torch.Tensor,
    encoder_attention_mask: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    texts = [row[real.bool()] for row, real in zip(encoder_hidden_states, encoder_attention_mask, strict=True)]
    images = list(hidden_states.unsqueeze(2))
    return (-torch.stack(module(images, _reversed(timestep), texts, return_dict=False)[0]).squeeze(2),)


def _call_lumina2(module: Any, timestep: torch.Tensor, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (-module(**inputs, timestep=_reversed(timestep), return_dict=False)[0],)


def _reversed(timestep: torch.Tensor) -> torch.Tensor:
    """Return the time of both models, 0 for noise and 1 for an image."""
    return (1000 - timestep) / 1000


def _trace_z_image(
    module: Any,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    timestep: torch.Tensor,
    encoder_attention_mask: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    rows, columns = (side // PATCH for side in hidden_states.shape[2:])
    tokens, text_tokens = rows * columns, encoder_hidden_states.shape[1]
    padding = -tokens % TEXT_BLOCK  # image tokens come in blocks too
    time = module.t_embedder(_reversed(timestep) * module.t_scale).to(hidden_states.dtype)

    grid = functional.pad(_grid_places(rows, columns, text_tokens + 1), (0, 0, 0, padding))
    text = _text_places(text_tokens, first=1)
    places = rotation(torch.cat([grid, text])[None], module.config, hidden_states.dtype)
    image_places, text_places = places.split(tokens + padding)

    x = module.all_x_embedder[PATCHES](_patches(hidden_states))
    x = torch.cat([x, module.x_pad_token.expand(x.shape[0], padding, -1)], 1)
    for layer in module.noise_refiner:
        x = layer(x, None, image_places, time)
    words = module.cap_embedder(encoder_hidden_states)
    words = torch.where(encoder_attention_mask[..., None] > 0, words, module.cap_pad_token)
    for layer in module.context_refiner:
        words = layer(words, None, text_places)
    x = torch.cat([x, words], 1)
    for layer in module.layers:
        x = layer(x, None, places, time)
    x = module.all_final_layer[PATCHES](x[:, :tokens], c=time)
    return (-_unpatched(x, rows, columns),)


def _trace_lumina2(
    module: Any,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    timestep: torch.Tensor,
    encoder_attention_mask: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    rows, columns = (side // PATCH for side in hidden_states.shape[2:])
    tokens, text_tokens = rows * columns, encoder_hidden_states.shape[1]
    text_mask = encoder_attention_mask[:, None, None] > 0
    time, words = module.time_caption_embed(hidden_states, _reversed(timestep), encoder_hidden_states)

    counts = encoder_attention_mask.sum(1).to(torch.float32)
    grid = _grid_places(rows, columns, 0) + functional.pad(counts[:, None, None], (0, 2))
    text = _text_places(text_tokens, first=0).expand(grid.shape[0], -1, -1)
    places = rotation(torch.cat([text, grid], 1), module.config, hidden_states.dtype)
    text_places, image_places = places.split(text_tokens)

    for layer in module.context_refiner:
        words = layer(words, text_mask, text_places)
    x = module.x_embedder(_patches(hidden_states))
    for layer in module.noise_refiner:
        x = layer(x, None, image_places, time)
    both_mask = functional.pad(encoder_attention_mask, (0, tokens), value=1)[:, None, None] > 0
    x = torch.cat([words, x], 1)
    for layer in module.layers:
        x = layer(x, both_mask, places, time)
    x = module.norm_out(x[:, text_tokens:], time)
    return (-_unpatched(x, rows, columns),)


def _patches(latents: torch.Tensor) -> torch.Tensor:
    """Lay out latents [n, c, h, w] as tokens [n, h w / 4, 4 c], with the channels of a token last."""
    n, c, height, width = latents.shape
    rows, columns = height // PATCH, width // PATCH
    cells = latents.reshape(n, c, rows, PATCH, columns, PATCH).permute(0, 2, 4, 3, 5, 1)
    return cells.reshape(n, rows * columns, PATCH * PATCH * c)


def _unpatched(tokens: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return tokens as latents: the inverse of `_patches`."""
    n, channels = tokens.shape[0], int(tokens.shape[2]) // PATCH**2
    cells = tokens.reshape(n, rows, columns, PATCH, PATCH, channels).permute(0, 5, 1, 3, 2, 4)
    return cells.reshape(n, channels, rows * PATCH, columns * PATCH)


def _grid_places(rows: int, columns: int, frame: int) -> torch.Tensor:
    """Return places [rows * columns, 3] of image tokens, float32: frame, row and column."""
    down = torch.arange(rows, dtype=torch.float32)[:, None].expand(rows, columns)
    across = torch.arange(columns, dtype=torch.float32)[None].expand(rows, columns)
    return torch.stack([torch.zeros_like(down) + frame, down, across], -1).flatten(0, 1)


def _text_places(tokens: int, *, first: int) -> torch.Tensor:
    """Return places [tokens, 3] of text tokens, float32: they count frames."""
    return functional.pad(torch.arange(first, tokens + first, dtype=torch.float32)[:, None], (0, 2))
