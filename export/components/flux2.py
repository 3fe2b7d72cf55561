"""FLUX.2: its transformer, and its autoencoder with patches and statistics of latents inside the graphs.

So the service sees latents of 128 channels at a sixteenth of the image's size that need no factors.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch.nn import functional

from ..graph.fused_operators import split_heads
from .component import Component
from .tensor_specs import TensorSpec, descending, pixels, whole_floats

ROWS, TOKENS, TEXT = "batch_size", "packed_height_width", "sequence_length"
LATENTS, IMAGE = ("height", "width"), ("sample_height", "sample_width")
COLUMNS = 4  # of positions: image, row, column, word
PATCH = 2  # latents of a side of a patch
POSITIONS = whole_floats(64)
LARGEST_HALF = 65504.0
Parts: TypeAlias = tuple[torch.Tensor, ...]


def transformer(pipeline: Any, folder: str) -> Component:
    """FLUX.2's transformer; tokens of images to edit follow those of the image."""
    module = getattr(pipeline, folder)
    config = module.config
    guidance = {"guidance": TensorSpec((ROWS,), descending(0.01), keep_float32=True)} if config.guidance_embeds else {}
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call,
        inputs={
            "hidden_states": TensorSpec((ROWS, TOKENS, config.in_channels)),
            "encoder_hidden_states": TensorSpec((ROWS, TEXT, config.joint_attention_dim)),
            "timestep": TensorSpec((ROWS,), descending(1), keep_float32=True),
            "txt_ids": TensorSpec((TEXT, COLUMNS), POSITIONS, keep_float32=True),
            "img_ids": TensorSpec((TOKENS, COLUMNS), POSITIONS, keep_float32=True),
            **guidance,
        },
        outputs={"out_hidden_states": TensorSpec((ROWS, TOKENS, config.out_channels or config.in_channels))},
        traced_call=_traced_call,
    )


def _call(module: Any, guidance: torch.Tensor | None = None, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (module(guidance=guidance, **inputs, return_dict=False)[0],)


def _traced_call(
    module: Any,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    timestep: torch.Tensor,
    txt_ids: torch.Tensor,
    img_ids: torch.Tensor,
    guidance: torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    """Compute the module's output: a third of the nodes that are traced of diffusers' code.

    Time and guidance are embedded without rounding; diffusers first casts them to the latents' type.
    """
    words = encoder_hidden_states.shape[1]
    active = functional.silu(_embed_scalars(module.time_guidance_embed, timestep, guidance, hidden_states.dtype))
    rotation = _rotation(module.pos_embed, torch.cat([txt_ids, img_ids]), hidden_states.dtype)
    image, text = module.x_embedder(hidden_states), module.context_embedder(encoder_hidden_states)
    own = _parts(module.double_stream_modulation_img.linear(active), 6)
    other = _parts(module.double_stream_modulation_txt.linear(active), 6)
    for block in module.transformer_blocks:
        image, text = _double_block(block, image, text, own, other, rotation)
    joint = torch.cat([text, image], 1)
    both = _parts(module.single_stream_modulation.linear(active), 3)
    for block in module.single_transformer_blocks:
        joint = _single_block(block, joint, both, rotation)
    scale, shift = _parts(module.norm_out.linear(active), 2)
    return (module.proj_out(_modulate(module.norm_out.norm, joint[:, words:], shift, scale)),)


def _embed_scalars(
    embed: Any, timestep: torch.Tensor, guidance: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """Return the sum of the embeddings [n, width] of time and, if the model has it, guidance."""
    embedded: torch.Tensor = embed.timestep_embedder(_cast(embed.time_proj(1000 * timestep), dtype))
    if guidance is None:
        return embedded
    return embedded + embed.guidance_embedder(_cast(embed.time_proj(1000 * guidance), dtype))


def _rotation(embed: Any, ids: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Return cosine and sine [tokens, 1, dim] of places [tokens, 4], and the matrix that turns pairs of numbers."""
    speeds = [1 / embed.theta ** (torch.arange(0, width, 2, dtype=torch.float64) / width) for width in embed.axes_dim]
    turning = [speed.float().repeat_interleave(2) for speed in speeds]
    angles = torch.cat([ids[:, axis, None] * speed for axis, speed in enumerate(turning)], -1)
    turn = torch.block_diag(*[torch.tensor([[0.0, 1.0], [-1.0, 0.0]])] * (sum(embed.axes_dim) // 2))
    turn = turn * torch.ones_like(ids[:1, :1])  # otherwise each block would have a copy
    return angles.cos()[:, None], angles.sin()[:, None], _cast(turn, dtype)


def _double_block(
    block: Any,
    image: torch.Tensor,
    text: torch.Tensor,
    own: Parts,
    other: Parts,
    rotation: Parts,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens [n, tokens, dim] of images and text after a block, modulated by `own` and `other`."""
    attention, words = block.attn, text.shape[1]
    inner = _modulate(block.norm1, image, *own[:2])
    text_inner = _modulate(block.norm1_context, text, *other[:2])
    layers = (attention.to_q, attention.to_k, attention.to_v)
    text_layers = (attention.add_q_proj, attention.add_k_proj, attention.add_v_proj)
    heads = [split_heads(layer(inner), attention.heads) for layer in layers]
    text_heads = [split_heads(layer(text_inner), attention.heads) for layer in text_layers]
    query = torch.cat([attention.norm_added_q(text_heads[0]), attention.norm_q(heads[0])], 1)
    key = torch.cat([attention.norm_added_k(text_heads[1]), attention.norm_k(heads[1])], 1)
    attended = _attend(query, key, torch.cat([text_heads[2], heads[2]], 1), rotation)
    image = image + own[2] * attention.to_out[0](attended[:, words:])
    text = text + other[2] * attention.to_add_out(attended[:, :words])
    image = image + own[5] * _feed_forward(block.ff, _modulate(block.norm2, image, *own[3:5]))
    text = text + other[5] * _feed_forward(block.ff_context, _modulate(block.norm2_context, text, *other[3:5]))
    return image, _finite(text)


def _single_block(block: Any, x: torch.Tensor, both: Parts, rotation: Parts) -> torch.Tensor:
    """Return the tokens [n, tokens, dim] of text, then images after a block that joins attention and feed-forward."""
    attention = block.attn
    wide, deep = attention.inner_dim, attention.mlp_hidden_dim
    joined = attention.to_qkv_mlp_proj(_modulate(block.norm, x, *both[:2]))
    *heads, gate, up = joined.split([wide, wide, wide, deep, deep], -1)
    query, key, value = (split_heads(each, attention.heads) for each in heads)
    attended = _attend(attention.norm_q(query), attention.norm_k(key), value, rotation)
    return _finite(x + both[2] * attention.to_out(torch.cat([attended, functional.silu(gate) * up], -1)))


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rotation: Parts) -> torch.Tensor:
    """Return attention [n, tokens, heads * width] of query, key and value [n, tokens, heads, width]."""
    heads = [each.transpose(1, 2) for each in (_rotate(query, rotation), _rotate(key, rotation), value)]
    return functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)


def _rotate(x: torch.Tensor, rotation: Parts) -> torch.Tensor:
    """Rotate pairs of neighbours in x [n, tokens, heads, dim]; a matrix swaps them faster than slices do."""
    cos, sin, turn = rotation
    return _cast(_cast(x, torch.float32) * cos + _cast(x @ turn, torch.float32) * sin, x.dtype)


def _feed_forward(network: Any, x: torch.Tensor) -> torch.Tensor:
    gate, up = _halves(network.linear_in(x))
    result: torch.Tensor = network.linear_out(functional.silu(gate) * up)
    return result


def _modulate(norm: Any, x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    modulated: torch.Tensor = norm(x) * (1 + scale) + shift
    return modulated


def _parts(vector: torch.Tensor, count: int) -> Parts:
    """Return `count` equal parts [n, 1, width] of a vector [n, count * width]; their lengths are not traced."""
    return vector[:, None].split(int(vector.shape[-1]) // count, -1)


def _halves(x: torch.Tensor) -> Parts:
    return x.split(int(x.shape[-1]) // 2, -1)


def _finite(x: torch.Tensor) -> torch.Tensor:
    """Limit numbers to float16's largest, where diffusers does."""
    return x.clip(-LARGEST_HALF, LARGEST_HALF) if x.dtype == torch.float16 else x


def _cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Convert to another type; the tracer writes a node even where the type is the same."""
    return x if x.dtype == dtype else x.to(dtype)


def autoencoder(pipeline: Any, _: str) -> tuple[Component, Component]:
    """AutoencoderKLFlux2: encodes an image to the mode of its normalised latents, in patches of 2 by 2.

    Both graphs stay in float32: the published configuration sets `force_upcast`, which the class does not read.
    """
    vae = pipeline.vae
    channels = vae.config.latent_channels * PATCH**2
    downscale = PATCH * 2 ** (len(vae.config.block_out_channels) - 1)
    latents, image = TensorSpec((ROWS, channels, *LATENTS)), TensorSpec((ROWS, 3, *IMAGE), pixels)
    encoder = Component(
        folder="vae_encoder",
        module=vae,
        call=_encode,
        inputs={"sample": image},
        outputs={"latent": latents},
        downscale=downscale,
        body=vae.encoder,
        float32_only=True,
    )
    decoder = Component(
        folder="vae_decoder",
        module=vae,
        call=_decode,
        inputs={"latent_sample": latents},
        outputs={"sample": image},
        downscale=downscale,
        body=vae.decoder,
        float32_only=True,
    )
    return encoder, decoder


def _encode(vae: Any, sample: torch.Tensor) -> tuple[torch.Tensor, ...]:
    mean, deviation = _statistics(vae)
    return ((_patches(vae.encode(sample).latent_dist.mode()) - mean) / deviation,)


def _decode(vae: Any, latent_sample: torch.Tensor) -> tuple[torch.Tensor, ...]:
    mean, deviation = _statistics(vae)
    return tuple(vae.decode(_without_patches(latent_sample * deviation + mean), return_dict=False)[:1])


def _statistics(vae: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and deviation [1, c, 1, 1] of the latents in patches, from the batch normalisation."""
    deviation = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps)
    return vae.bn.running_mean.view(1, -1, 1, 1), deviation.view(1, -1, 1, 1)


def _patches(latents: torch.Tensor) -> torch.Tensor:
    """Fold latents [n, c, h, w] to [n, 4 c, h / 2, w / 2]."""
    n, c, h, w = latents.shape
    blocks = latents.reshape(n, c, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 1, 3, 5, 2, 4)
    return blocks.reshape(n, c * PATCH**2, h // PATCH, w // PATCH)


def _without_patches(latents: torch.Tensor) -> torch.Tensor:
    """Unfold latents [n, 4 c, h, w] to [n, c, 2 h, 2 w]: the inverse of `_patches`."""
    n, c, h, w = latents.shape
    blocks = latents.reshape(n, c // PATCH**2, PATCH, PATCH, h, w).permute(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, c // PATCH**2, PATCH * h, PATCH * w)
