"""FLUX.2: its transformer, and its autoencoder with patches and statistics of latents inside the graphs.

So the service sees latents of 128 channels at a sixteenth of the image's size that need no factors.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.transformers import transformer_flux2

from .component import Component
from .flux import traceable_rotation
from .tensor_specs import TensorSpec, descending, pixels, whole_floats

if TYPE_CHECKING:
    from collections.abc import Mapping

ROWS, TOKENS, TEXT = "batch_size", "packed_height_width", "sequence_length"
LATENTS, IMAGE = ("height", "width"), ("sample_height", "sample_width")
COLUMNS = 4  # of positions: image, row, column, word
PATCH = 2  # latents of a side of a patch
POSITIONS = whole_floats(64)


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
        traced_call=_call_exactly,
        trace_patch=partial(traceable_rotation, transformer_flux2),
    )


def _call(module: Any, guidance: torch.Tensor | None = None, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (module(guidance=guidance, **inputs, return_dict=False)[0],)


def _call_exactly(module: Any, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Embed time and guidance without rounding: diffusers first casts them to the latents' type."""
    embed = module.time_guidance_embed
    embed.forward = lambda *_: _embed_scalars(embed, inputs)
    try:
        return _call(module, **inputs)
    finally:
        del embed.forward


def _embed_scalars(embed: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the sum of the embeddings [n, width] of time and, if the model has it, guidance."""
    kind = inputs["hidden_states"].dtype
    embedded: torch.Tensor = embed.timestep_embedder(embed.time_proj(1000 * inputs["timestep"]).to(kind))
    if "guidance" not in inputs:
        return embedded
    return embedded + embed.guidance_embedder(embed.time_proj(1000 * inputs["guidance"]).to(kind))


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
