"""Autoencoders as two components: an encoder of images and a decoder of latents."""

from __future__ import annotations

from typing import Any

from .component import Component
from .tensor_specs import TensorSpec, pixels

LATENTS = ("height", "width")
IMAGE = ("sample_height", "sample_width")


def kl(pipeline: Any, _: str) -> tuple[Component, Component]:
    """AutoencoderKL: encodes an image to the mean and the log-variance of its latents, concatenated."""
    vae = pipeline.vae
    return _pair(
        vae,
        downscale=2 ** (len(vae.config.block_out_channels) - 1),
        encode=lambda vae, sample: (vae.encode(sample).latent_dist.parameters,),
        encoded=("latent_parameters", 2 * vae.config.latent_channels),
        float32_only=_overflows_float16(vae),
    )


def dc(pipeline: Any, _: str) -> tuple[Component, Component]:
    """AutoencoderDC: encodes an image directly to its latents, without a distribution."""
    vae = pipeline.vae
    return _pair(
        vae,
        downscale=2 ** (len(vae.config.encoder_block_out_channels) - 1),
        encode=lambda vae, sample: vae.encode(sample, return_dict=False)[:1],
        encoded=("latent", vae.config.latent_channels),
        float32_only=True,  # its linear attention divides by sums that float16 cannot hold
    )


def tiny(pipeline: Any, _: str) -> tuple[Component, Component]:
    """AutoencoderTiny (TAESD): encodes an image directly to the latents of the denoiser."""
    vae = pipeline.vae
    return _pair(
        vae,
        downscale=2 ** (len(vae.config.encoder_block_out_channels) - 1),
        encode=lambda vae, sample: vae.encode(sample, return_dict=False),
        encoded=("latent", vae.config.latent_channels),
        float32_only=False,
    )


def _pair(
    vae: Any, *, downscale: int, encode: Any, encoded: tuple[str, int], float32_only: bool
) -> tuple[Component, Component]:
    name, channels = encoded
    encoder = Component(
        folder="vae_encoder",
        module=vae,
        call=encode,
        inputs={"sample": TensorSpec(("batch_size", 3, *IMAGE), pixels)},
        outputs={name: TensorSpec(("batch_size", channels, *LATENTS))},
        downscale=downscale,
        body=vae.encoder,
        float32_only=float32_only,
    )
    decoder = Component(
        folder="vae_decoder",
        module=vae,
        call=lambda vae, latent_sample: vae.decode(latent_sample, return_dict=False)[:1],
        inputs={"latent_sample": TensorSpec(("batch_size", vae.config.latent_channels, *LATENTS))},
        outputs={"sample": TensorSpec(("batch_size", 3, *IMAGE))},
        downscale=downscale,
        body=vae.decoder,
        float32_only=float32_only,
    )
    return encoder, decoder


def _overflows_float16(vae: Any) -> bool:
    """Whether the VAE overflows in float16 according to its author: its file sets `force_upcast` explicitly."""
    config = vae.config
    return bool(config.get("force_upcast")) and "force_upcast" not in config.get("_use_default_values", ())
