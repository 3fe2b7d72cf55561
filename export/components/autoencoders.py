"""Autoencoders as components: one that encodes pictures, and one that decodes latents."""

from __future__ import annotations

from typing import Any

from ..errors import Refused
from .component import Component
from .values import Value, pixels

LATENTS = ("height", "width")
PICTURE = ("sample_height", "sample_width")


def kl(pipeline: Any, _: str) -> tuple[Component, Component]:
    """AutoencoderKL: a picture is encoded to mean and log-variance of its latents, one after the other.

    Raises Refused where latents are normalised channel by channel, as SDXL's pipelines alone do it.
    """
    vae = pipeline.vae
    for key in ("latents_mean", "latents_std"):
        if vae.config.get(key) is not None:
            raise Refused(f"vae/config.json: {key} can't be served; it must be null")
    return _pair(
        vae,
        downscale=2 ** (len(vae.config.block_out_channels) - 1),
        encode=lambda vae, sample: (vae.encode(sample).latent_dist.parameters,),
        encoded=("latent_parameters", 2 * vae.config.latent_channels),
        wide=_overflows(vae),
    )


def dc(pipeline: Any, _: str) -> tuple[Component, Component]:
    """AutoencoderDC: a picture is encoded to its latents, without a distribution."""
    vae = pipeline.vae
    return _pair(
        vae,
        downscale=2 ** (len(vae.config.encoder_block_out_channels) - 1),
        encode=lambda vae, sample: vae.encode(sample, return_dict=False)[:1],
        encoded=("latent", vae.config.latent_channels),
        wide=True,  # its linear attention divides by sums that float16 does not hold
    )


def _pair(
    vae: Any, *, downscale: int, encode: Any, encoded: tuple[str, int], wide: bool
) -> tuple[Component, Component]:
    name, channels = encoded
    encoder = Component(
        folder="vae_encoder",
        module=vae,
        call=encode,
        inputs={"sample": Value(("batch_size", 3, *PICTURE), pixels)},
        outputs={name: Value(("batch_size", channels, *LATENTS))},
        downscale=downscale,
        body=vae.encoder,
        wide=wide,
    )
    decoder = Component(
        folder="vae_decoder",
        module=vae,
        call=lambda vae, latent_sample: vae.decode(latent_sample, return_dict=False)[:1],
        inputs={"latent_sample": Value(("batch_size", vae.config.latent_channels, *LATENTS))},
        outputs={"sample": Value(("batch_size", 3, *PICTURE))},
        downscale=downscale,
        body=vae.decoder,
        wide=wide,
    )
    return encoder, decoder


def _overflows(vae: Any) -> bool:
    """Whether its author says that float16 is too narrow for it: the key counts only where somebody has written it."""
    config = vae.config
    return bool(config.get("force_upcast")) and "force_upcast" not in config.get("_use_default_values", ())
