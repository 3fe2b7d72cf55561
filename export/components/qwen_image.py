"""Qwen-Image and Qwen-Image-Edit as components: the transformer, and the autoencoder of one frame."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers.models.autoencoders import autoencoder_kl_qwenimage as video_vae
from diffusers.models.transformers import transformer_qwenimage
from torch.nn import functional

from tintype.service.models.position_ids import qwen_ids

from ..errors import ExportRefusal
from .autoencoders import IMAGE, LATENTS
from .component import Component
from .denoisers import ROWS, TEXT, TIMESTEP_1
from .tensor_specs import TensorSpec, mask, pixels, whole_floats

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .tensor_specs import ExampleSize

    Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

TOKENS = (*ROWS, "packed_height_width")
REFERENCE = (2, 3)  # rows and columns of tokens of an image to edit in examples
PLACES = whole_floats(64)
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
        masked_suffix="attn",
        traced_call=_traced_call,
        trace_patch=_traceable_rotation,
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
    timestep: torch.Tensor,
    img_ids: torch.Tensor,
    txt_ids: torch.Tensor,
    encoder_attention_mask: torch.Tensor,
    **inputs: Any,
) -> tuple[torch.Tensor, ...]:
    """Call the module with positions as inputs, and embed time without rounding it to the latents' type."""
    embed, places = module.time_text_embed, module.pos_embed
    is_reference = (img_ids[:, 0] > 0).long() if module.zero_cond_t else None
    times = timestep[:, None] if is_reference is None else torch.stack([timestep, timestep * 0], 1)
    places.forward = lambda *_, **__: tuple(_angles(module, ids) for ids in (img_ids, txt_ids))
    embed.forward = lambda _, hidden_states, *__: _embed_times(embed, times, hidden_states.dtype)
    try:
        with _modulated_by(module, is_reference):
            out = module(
                **inputs,
                timestep=timestep,
                encoder_hidden_states_mask=encoder_attention_mask > 0,
                img_shapes=[],
                return_dict=False,
            )
    finally:
        del embed.forward, places.forward
    return (out[0],)


def _angles(module: Any, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosine and sine [tokens, dim / 2] of places [tokens, 3], as QwenEmbedRope has them in a table."""
    widths, theta = module.pos_embed.axes_dim, module.pos_embed.theta
    speeds = [1 / theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width) for width in widths]
    angles = torch.cat([ids[:, axis, None] * speed[None] for axis, speed in enumerate(speeds)], -1)
    return angles.cos(), angles.sin()


def _embed_times(embed: Any, times: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the embeddings of times [n, k]: [n, dim] of one, [n, 2, dim] of two."""
    waves = torch.stack([embed.time_proj(each) for each in times.unbind(1)], 1)
    embedded = embed.timestep_embedder(waves.to(dtype))
    return embedded[:, 0] if times.shape[1] == 1 else embedded


@contextlib.contextmanager
def _modulated_by(module: Any, is_reference: torch.Tensor | None) -> Iterator[None]:
    """Let blocks take embeddings of two times [n, 2, dim] while the context is active; a token chooses one.

    diffusers puts both times into the batch, where adapters, which have rows of the batch, could not be added.
    """
    if is_reference is None:
        yield
        return

    def modulate(x: torch.Tensor, parameters: torch.Tensor, _: None = None) -> tuple[torch.Tensor, torch.Tensor]:
        own = parameters[:, None] if parameters.ndim == 2 else parameters[:, is_reference]
        shift, scale, gate = own.chunk(3, dim=-1)
        return x * (1 + scale) + shift, gate

    blocks, out = module.transformer_blocks, module.norm_out
    for block in blocks:
        block.zero_cond_t, block._modulate = False, modulate  # noqa: SLF001
        block.txt_mod.forward = lambda times, own=block.txt_mod: type(own).forward(own, times[:, 0])
    module.zero_cond_t = False
    out.forward = lambda x, times: type(out).forward(out, x, times[:, 0])
    try:
        yield
    finally:
        module.zero_cond_t = True
        del out.forward
        for block in blocks:
            block.zero_cond_t = True
            del block._modulate, block.txt_mod.forward  # noqa: SLF001


@contextlib.contextmanager
def _traceable_rotation() -> Iterator[None]:
    """Rotate pairs without complex numbers while the context is active."""
    original = transformer_qwenimage.apply_rotary_emb_qwen
    transformer_qwenimage.apply_rotary_emb_qwen = _rotate
    try:
        yield
    finally:
        transformer_qwenimage.apply_rotary_emb_qwen = original


def _rotate(x: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor], **_: Any) -> torch.Tensor:
    """Rotate pairs of neighbours in x [n, tokens, heads, dim] by cos and sin [tokens, dim / 2]."""
    cos, sin = (part[None, :, None] for part in angles)
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(3).to(x.dtype)


def autoencoder(pipeline: Any, _: str) -> tuple[Component, Component]:
    """AutoencoderKLQwenImage: a video's autoencoder, for one frame; the graphs normalise the latents.

    Its convolutions look at earlier frames. Of one frame they see it alone, by the last slice of their kernels, so that
    they are two-dimensional. The encoder gives the mean and the log-variance of normalised latents.
    """
    vae = pipeline.vae
    downscale = 2 ** (len(vae.config.dim_mult) - 1)
    channels = vae.config.z_dim
    encoder = Component(
        folder="vae_encoder",
        module=vae,
        call=_encode,
        traced_call=_traced_encode,
        trace_patch=_flat_layers,
        inputs={"sample": TensorSpec(("batch_size", 3, *IMAGE), pixels)},
        outputs={"latent_parameters": TensorSpec(("batch_size", 2 * channels, *LATENTS))},
        downscale=downscale,
        body=vae.encoder,
    )
    decoder = Component(
        folder="vae_decoder",
        module=vae,
        call=_decode,
        traced_call=_traced_decode,
        trace_patch=_flat_layers,
        inputs={"latent_sample": TensorSpec(("batch_size", channels, *LATENTS))},
        outputs={"sample": TensorSpec(("batch_size", 3, *IMAGE))},
        downscale=downscale,
        body=vae.decoder,
    )
    return encoder, decoder


def _statistics(vae: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of latents, [1, channels, 1, 1] each."""
    mean, deviation = (torch.tensor(values).view(1, -1, 1, 1) for values in _both(vae))
    return mean, deviation


def _both(vae: Any) -> tuple[list[float], list[float]]:
    return vae.config.latents_mean, vae.config.latents_std


def _normalised(vae: Any, parameters: torch.Tensor) -> torch.Tensor:
    """Return mean and log-variance [n, 2c, h, w] of latents with mean 0 and deviation 1."""
    average, deviation = (each.to(parameters.dtype) for each in _statistics(vae))
    mean, log_variance = parameters.chunk(2, dim=1)
    return torch.cat([(mean - average) / deviation, log_variance - 2 * deviation.log()], 1)


def _encode(vae: Any, sample: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (_normalised(vae, vae.encode(sample[:, :, None]).latent_dist.parameters[:, :, 0]),)


def _traced_encode(vae: Any, sample: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (_normalised(vae, vae.quant_conv(vae.encoder(sample))),)


def _original(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    average, deviation = (each.to(latents.dtype) for each in _statistics(vae))
    return latents * deviation + average


def _decode(vae: Any, latent_sample: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (vae.decode(_original(vae, latent_sample)[:, :, None], return_dict=False)[0][:, :, 0],)


def _traced_decode(vae: Any, latent_sample: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (vae.decoder(vae.post_quant_conv(_original(vae, latent_sample))).clamp(-1, 1),)


@contextlib.contextmanager
def _flat_layers() -> Iterator[None]:
    """Let the layers of the autoencoder work on images [n, c, h, w] while the context is active."""
    flat = {
        video_vae.QwenImageCausalConv3d: _convolve,
        video_vae.QwenImageRMS_norm: _normalise,
        video_vae.QwenImageUpsample: _upsample,
        video_vae.QwenImageResample: lambda layer, x, *_: layer.resample(x),
        video_vae.QwenImageAttentionBlock: _attend,
    }
    originals = {layer: layer.forward for layer in flat}
    for layer, forward in flat.items():
        layer.forward = forward
    try:
        yield
    finally:
        for layer, forward in originals.items():
            layer.forward = forward


def _convolve(layer: Any, x: torch.Tensor, _: None = None) -> torch.Tensor:
    across, _, down, *_ = layer._padding  # noqa: SLF001
    return functional.conv2d(x, layer.weight[:, :, -1], layer.bias, layer.stride[1:], (down, across))


def _normalise(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """Scale the channels of x [n, c, h, w] to length 1, then by the layer's weights; lengths are float32."""
    length = torch.linalg.vector_norm(x.float(), dim=1, keepdim=True).clamp(min=1e-12)
    weights = layer.gamma.view(-1, 1, 1) * layer.scale
    return (x.float() / length).to(x.dtype) * weights + layer.bias


def _upsample(_: Any, x: torch.Tensor) -> torch.Tensor:
    """Double the sides; the exact nearest neighbours, which the tracer does not know, are the usual ones here."""
    return functional.interpolate(x.float(), scale_factor=2.0, mode="nearest").to(x.dtype)


def _attend(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """Compute attention of one head over the cells of x [n, c, h, w]."""
    cells = layer.to_qkv(layer.norm(x)).flatten(2).transpose(1, 2)[:, None]
    attended = functional.scaled_dot_product_attention(*cells.chunk(3, dim=-1))
    return layer.proj(attended[:, 0].transpose(1, 2).reshape(x.shape)) + x
