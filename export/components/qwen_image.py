"""The transformer of Qwen-Image and Qwen-Image-Edit as a component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from tintype.service.models.position_ids import qwen_ids

from ..errors import ExportRefusal
from ..graph.fused_operators import split_heads
from .component import Component
from .denoisers import ROWS, TEXT, TIMESTEP_1
from .tensor_specs import TensorSpec, mask, whole_floats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .tensor_specs import ExampleSize

    Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

TOKENS = (*ROWS, "packed_height_width")
REFERENCE = (2, 3)  # rows and columns of tokens of an image to edit in examples
PLACES = whole_floats(64)
LARGEST_HALF = 65504.0
UNSUPPORTED = ("guidance_embeds", "use_additional_t_cond", "use_layer3d_rope")


def transformer(pipeline: Any, folder: str) -> Component:
    """Qwen-Image: latents packed two by two; all rows of a call share the position ids of images and text.

    The tokens of images to edit follow those of the image. With `zero_cond_t` they are modulated as at time 0; their
    first position id, which is above 0, tells them.
    """
    module = getattr(pipeline, folder)
    config = module.config
    for key in UNSUPPORTED:
        if config.get(key):
            raise ExportRefusal(f"{folder}/config.json: {key} must be false; got {config[key]!r}")
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call,
        inputs={
            "hidden_states": TensorSpec((*TOKENS, config.in_channels)),
            "encoder_hidden_states": TensorSpec((*TEXT, config.joint_attention_dim)),
            "encoder_attention_mask": TensorSpec(TEXT, mask),
            "timestep": TIMESTEP_1,
            "img_ids": TensorSpec(("packed_height_width", 3), PLACES, keep_float32=True),
            "txt_ids": TensorSpec(("sequence_length", 3), PLACES, keep_float32=True),
        },
        outputs={"out_hidden_states": TensorSpec((*TOKENS, config.patch_size**2 * module.out_channels))},
        given=_position_ids,
        traced_call=_traced_call,
    )


def _position_ids(size: ExampleSize) -> Arrays:
    """Return the places of an image, of one to edit, and of text."""
    image, text = qwen_ids([(size.height // 2, size.width // 2), REFERENCE], size.tokens)
    return {"img_ids": image.astype(np.float32), "txt_ids": text.astype(np.float32)}


def _call(
    module: Any, img_ids: torch.Tensor, txt_ids: torch.Tensor, encoder_attention_mask: torch.Tensor, **inputs: Any
) -> tuple[torch.Tensor, ...]:
    """Call diffusers' module, which computes positions from the images' shapes."""
    del txt_ids
    shapes = [(1, *_extent(img_ids[img_ids[:, 0] == number])) for number in img_ids[:, 0].unique()]
    mask = encoder_attention_mask > 0
    shapes_by_row = [shapes] * len(mask)
    return (module(**inputs, encoder_hidden_states_mask=mask, img_shapes=shapes_by_row, return_dict=False)[0],)


def _extent(ids: torch.Tensor) -> list[int]:
    """Return the rows and the columns of the grid of position ids [tokens, 3]."""
    return [int(side) for side in (ids[:, 1:].amax(0) - ids[:, 1:].amin(0) + 1).tolist()]


def _traced_call(
    module: Any,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    encoder_attention_mask: torch.Tensor,
    timestep: torch.Tensor,
    img_ids: torch.Tensor,
    txt_ids: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Compute the module's output: a quarter of the nodes that are traced of diffusers' code.

    Time is not rounded to the latents' type. A second time, that of images to edit, is an axis of its own: in the
    batch, where diffusers puts it, adapters could not be added, since they have rows of the batch.
    """
    is_reference = (img_ids[:, 0] > 0).long() if module.zero_cond_t else None
    moments = [timestep] if is_reference is None else [timestep, timestep * 0]
    times = _embed_times(module.time_text_embed, moments, hidden_states.dtype)
    rotations = _rotation(module, img_ids), _rotation(module, txt_ids)
    seen = torch.cat([encoder_attention_mask > 0, torch.ones_like(hidden_states[..., 0], dtype=torch.bool)], 1)
    seen = seen[:, None, None]
    image, text = module.img_in(hidden_states), module.txt_in(module.txt_norm(encoder_hidden_states))
    for block in module.transformer_blocks:
        image, text = _traced_block(block, image, text, times, is_reference, rotations, seen)
    out = module.norm_out
    scale, shift = _parts(out.linear(out.silu(times[:, :1])), 2)
    return (module.proj_out(_modulate(out.norm(image), shift, scale)),)


def _embed_times(embed: Any, moments: list[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """Return embeddings [n, moments, dim] of times [n] each."""
    waves = torch.stack([embed.time_proj(moment) for moment in moments], 1)
    embedded: torch.Tensor = embed.timestep_embedder(waves.to(dtype))
    return embedded


def _rotation(module: Any, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return cosine and sine [tokens, 1, dim] for places [tokens, 3], and the matrix that turns pairs of numbers."""
    widths, theta = module.pos_embed.axes_dim, module.pos_embed.theta
    speeds = [1 / theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width) for width in widths]
    angles = torch.cat([ids[:, axis, None] * speed.repeat_interleave(2) for axis, speed in enumerate(speeds)], -1)
    turn = torch.block_diag(*[torch.tensor([[0.0, 1.0], [-1.0, 0.0]])] * (sum(widths) // 2))
    return angles.cos()[:, None], angles.sin()[:, None], turn


def _rotate(x: torch.Tensor, rotation: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Rotate pairs of neighbours in x [n, tokens, heads, dim]; a matrix swaps them faster than slices do."""
    cos, sin, turn = rotation
    return (x.float() * cos + (x @ turn.to(x.dtype)).float() * sin).to(x.dtype)


def _parts(x: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """Split the last axis, whose length is fixed: the tracer would compute it for `chunk`."""
    return x.split(int(x.shape[-1]) // count, dim=-1)


def _modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return x * (1 + scale) + shift


def _traced_block(
    block: Any,
    image: torch.Tensor,
    text: torch.Tensor,
    times: torch.Tensor,
    is_reference: torch.Tensor | None,
    rotations: tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]],
    mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens of images and text [n, tokens, dim] after a block; each image token has one of two times."""
    own = block.img_mod(times) if is_reference is None else block.img_mod(times)[:, is_reference]
    shift, scale, gate, shift_2, scale_2, gate_2 = _parts(own, 6)
    text_shift, text_scale, text_gate, text_shift_2, text_scale_2, text_gate_2 = _parts(block.txt_mod(times[:, :1]), 6)
    attended, text_attended = _attend_jointly(
        block.attn,
        _modulate(block.img_norm1(image), shift, scale),
        _modulate(block.txt_norm1(text), text_shift, text_scale),
        rotations,
        mask,
    )
    image, text = image + gate * attended, text + text_gate * text_attended
    image = image + gate_2 * block.img_mlp(_modulate(block.img_norm2(image), shift_2, scale_2))
    text = text + text_gate_2 * block.txt_mlp(_modulate(block.txt_norm2(text), text_shift_2, text_scale_2))
    if image.dtype == torch.float16:
        image, text = image.clip(-LARGEST_HALF, LARGEST_HALF), text.clip(-LARGEST_HALF, LARGEST_HALF)
    return image, text


def _attend_jointly(
    attention: Any,
    image: torch.Tensor,
    text: torch.Tensor,
    rotations: tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]],
    mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute attention over the tokens of text, then of images; text that the mask leaves out is not seen."""

    def heads(x: torch.Tensor) -> torch.Tensor:
        return split_heads(x, attention.heads)

    query = _rotate(attention.norm_q(heads(attention.to_q(image))), rotations[0])
    key = _rotate(attention.norm_k(heads(attention.to_k(image))), rotations[0])
    text_query = _rotate(attention.norm_added_q(heads(attention.add_q_proj(text))), rotations[1])
    text_key = _rotate(attention.norm_added_k(heads(attention.add_k_proj(text))), rotations[1])
    values = heads(attention.add_v_proj(text)), heads(attention.to_v(image))
    pairs = (text_query, query), (text_key, key), values
    joint = [torch.cat(pair, 1).transpose(1, 2) for pair in pairs]
    attended = functional.scaled_dot_product_attention(*joint, attn_mask=mask).transpose(1, 2).flatten(2)
    tokens = text.shape[1]
    return attention.to_out[0](attended[:, tokens:]), attention.to_add_out(attended[:, :tokens])
