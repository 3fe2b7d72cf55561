"""The autoencoder of Qwen-Image as two components: that of a video, for one frame.

Its convolutions look at earlier frames. Of one frame they see it alone, by the last slice of their kernels, so that
they are two-dimensional.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.autoencoders import autoencoder_kl_qwenimage as video_vae
from torch.nn import functional

from ..autoencoders import IMAGE, LATENTS
from ..component import Component
from ..tensor_specs import TensorSpec, pixels

if TYPE_CHECKING:
    from collections.abc import Iterator


def autoencoder(pipeline: Any, _: str) -> tuple[Component, Component]:
    """AutoencoderKLQwenImage; the graphs normalise latents, and the encoder gives their mean and log-variance."""
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
    config = vae.config
    mean, deviation = (torch.tensor(each).view(1, -1, 1, 1) for each in (config.latents_mean, config.latents_std))
    return mean, deviation


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
