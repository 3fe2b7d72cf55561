"""The transformer of Qwen-Image and Qwen-Image-Edit as a component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from tintype.service.models.position_ids import qwen_ids

from ...errors import ExportRefusal
from ...graph.fused_operators import split_heads
from ..component import Component
from ..denoisers import ROWS, TEXT, TIMESTEP_1
from ..tensor_specs import TensorSpec, mask, whole_floats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..tensor_specs import ExampleSize

    Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

TOKENS = (*ROWS, "packed_height_width")
REFERENCE = (2, 3)  # rows and columns of tokens of an image to edit in examples
PLACES = whole_floats(64)
HIDDEN = 4096  # what scores of padding are lowered by
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
    dtype, last = hidden_states.dtype, module.transformer_blocks[-1]
    is_reference = (img_ids[:, 0] > 0).long() if module.zero_cond_t else None
    moments = [timestep] if is_reference is None else [timestep, timestep * 0]
    times = _embed_times(module.time_text_embed, moments, dtype)
    rotations = _rotation(module, img_ids), _rotation(module, txt_ids)
    mask = torch.cat([(encoder_attention_mask - 1) * HIDDEN, torch.zeros_like(hidden_states[..., 0]).long()], 1)
    mask = mask[:, None, None].to(dtype)
    image, text = module.img_in(hidden_states), module.txt_in(module.txt_norm(encoder_hidden_states))
    for block in module.transformer_blocks:
        scales = (HALF_LAST if block is last else HALF) if dtype == torch.float16 else Scales()
        image, text = _traced_block(block, scales, _wide(image), _wide(text), times, is_reference, rotations, mask)
    out = module.norm_out
    scale, shift = _parts(_wide(out.linear(out.silu(times[:, :1]))), 2)
    return (module.proj_out(_cast(_modulate(out.norm(image), shift, scale), dtype)),)


class Scales(NamedTuple):
    """Factors of what a block's layers compute in float16; the results are scaled back in float32.

    Of what attention reads, of what it gives in addition, and of the feed-forward.
    """

    attention: float = 1.0
    attended: float = 1.0
    feed_forward: float = 1.0


# The sums over the layers of published weights reach 2e7, and layers give up to 2e6 (Draw Things, "Optimizing Qwen
# Image for Edge Devices"); float16 holds 65504.
HALF, HALF_LAST = Scales(1 / 8, 1 / 2, 1 / 32), Scales(1 / 8, 1 / 2, 1 / 512)


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
    return _cast(_wide(x) * cos + _wide(x @ _cast(turn, x.dtype)) * sin, x.dtype)


def _parts(x: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """Split the last axis, whose length is fixed: the tracer would compute it for `chunk`."""
    return x.split(int(x.shape[-1]) // count, dim=-1)


def _modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return x * (1 + scale) + shift


def _traced_block(
    block: Any,
    scales: Scales,
    image: torch.Tensor,
    text: torch.Tensor,
    times: torch.Tensor,
    is_reference: torch.Tensor | None,
    rotations: tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]],
    mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens of images and text [n, tokens, dim] after a block; each image token has one of two times."""
    own = block.img_mod(times) if is_reference is None else block.img_mod(times)[:, is_reference]
    shift, scale, gate, shift_2, scale_2, gate_2 = _parts(_wide(own), 6)
    other = block.txt_mod(times[:, :1])
    text_shift, text_scale, text_gate, text_shift_2, text_scale_2, text_gate_2 = _parts(_wide(other), 6)
    attended, text_attended = _attend_jointly(
        block.attn,
        scales,
        _cast(_scaled(_modulate(block.img_norm1(image), shift, scale), scales.attention), times.dtype),
        _cast(_scaled(_modulate(block.txt_norm1(text), text_shift, text_scale), scales.attention), times.dtype),
        rotations,
        mask,
    )
    image, text = image + gate * attended, text + text_gate * text_attended
    modulated = _modulate(block.img_norm2(image), shift_2, scale_2)
    image = image + gate_2 * _feed_forward(block.img_mlp, modulated, scales.feed_forward, times.dtype)
    modulated = _modulate(block.txt_norm2(text), text_shift_2, text_scale_2)
    text = text + text_gate_2 * _feed_forward(block.txt_mlp, modulated, scales.feed_forward, times.dtype)
    return image, text


def _cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Convert to another type; the tracer writes a node even where the type is the same."""
    return x if x.dtype == dtype else x.to(dtype)


def _wide(x: torch.Tensor) -> torch.Tensor:
    return _cast(x, torch.float32)


def _scaled(x: torch.Tensor, factor: float) -> torch.Tensor:
    return x if factor == 1 else x * factor


def _linear(layer: Any, x: torch.Tensor, scale: float) -> torch.Tensor:
    """Call a linear layer on inputs that are scaled, and scale its bias; adapters see a call of the layer."""
    if scale == 1:
        return layer(x)
    layer.forward = lambda x: functional.linear(x, layer.weight, layer.bias * scale)
    try:
        return layer(x)
    finally:
        del layer.forward


def _feed_forward(mlp: Any, x: torch.Tensor, scale: float, dtype: torch.dtype) -> torch.Tensor:
    """Return the feed-forward of x in float32; its two products are computed in another type, scaled."""
    first, _, second = mlp.net
    inner = _wide(_linear(first.proj, _cast(_scaled(x, scale), dtype), scale))
    active = first.gelu(_scaled(inner, 1 / scale))
    return _scaled(_wide(_linear(second, _cast(_scaled(active, scale), dtype), scale)), 1 / scale)


def _normalise(norm: Any, x: torch.Tensor, scale: float) -> torch.Tensor:
    """Call an RMS norm on numbers that are scaled."""
    eps = norm.eps
    norm.eps = eps * scale**2
    try:
        return norm(x)
    finally:
        norm.eps = eps


def _attend_jointly(
    attention: Any,
    scales: Scales,
    image: torch.Tensor,
    text: torch.Tensor,
    rotations: tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]],
    mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute attention over the tokens of text, then of images; the mask is added to the scores."""

    def project(layer: Any, x: torch.Tensor) -> torch.Tensor:
        return split_heads(_linear(layer, x, scales.attention), attention.heads)

    def turned(layer: Any, norm: Any, x: torch.Tensor, rotation: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return _rotate(_normalise(norm, project(layer, x), scales.attention), rotation)

    own, other = rotations
    text_query = turned(attention.add_q_proj, attention.norm_added_q, text, other)
    text_key = turned(attention.add_k_proj, attention.norm_added_k, text, other)
    query, key = (
        turned(attention.to_q, attention.norm_q, image, own),
        turned(attention.to_k, attention.norm_k, image, own),
    )
    values = project(attention.add_v_proj, text), project(attention.to_v, image)
    joint = [torch.cat(pair, 1).transpose(1, 2) for pair in ((text_query, query), (text_key, key), values)]
    attended = functional.scaled_dot_product_attention(*joint, attn_mask=mask)
    tokens = _scaled(attended.transpose(1, 2).flatten(2), scales.attended)
    scale, words = scales.attention * scales.attended, text.shape[1]
    pairs = (attention.to_out[0], tokens[:, words:]), (attention.to_add_out, tokens[:, :words])
    image_out, text_out = (_scaled(_wide(_linear(layer, x, scale)), 1 / scale) for layer, x in pairs)
    return image_out, text_out
