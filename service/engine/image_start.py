"""Start of a row from an image: its latents, noised to the level of the first denoiser call.

Noise is drawn in the order of diffusers, so a seed gives the same image: for the posterior of the encoder, for the
first level, and with a mask once more for the masked image, which diffusers encodes whether or not the model reads it.
A model that reads it starts from pure noise at full strength; the image itself is then not encoded. FLUX.1 Fill still
draws the noise for it.

Two samplers of diffusers 0.42 are wrong when steps are skipped: PNDM calls the network with the level after that of x,
and LMS uses the weights of a history that it does not have. PLMS and LMS here follow their definitions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import GenerationFailed
from ..numerics import KeptPart, Trajectory, noised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..images.upload import Mask
    from ..models.model import Array, Model
    from ..numerics import Noise
    from .plan import LatentShape, Plan


@dataclass(frozen=True, slots=True, eq=False)
class ImageStart:
    """Start of a row from an image.

    Attributes:
        latents: clean latents [c, h, w]; None for pure noise.
        noise: noise [c, h, w], for every level.
        keep: share of each latent that is kept, [h, w], 0 to 1.
        extra_channels: further inputs of an inpainting model [channels, h, w]: the mask, 1 where it repaints, and the
            latents of the masked image, in the order of its `MaskLayout`.
    """

    latents: Array | None = field(repr=False)
    noise: Array = field(repr=False)
    keep: Array | None = field(default=None, repr=False)
    extra_channels: Array | None = field(default=None, repr=False)

    def trajectory(self, plan: Plan, stream: Noise) -> Trajectory:
        """Return the trajectory. With a mask and full strength, the repainted part starts from pure noise."""
        table = plan.table
        if self.latents is None:
            return Trajectory(table, np.float32(table.init) * self.noise, stream, channels=self.extra_channels)
        kept = None if self.keep is None else KeptPart(self.keep, self.latents, self.noise)
        pure = kept is not None and plan.strength == 1
        x = np.float32(table.init) * self.noise if pure else noised(table, 0, self.latents, self.noise)
        return Trajectory(table, x, stream, kept, self.extra_channels)


def encode_image(model: Model, plan: Plan, streams: Sequence[Noise]) -> list[ImageStart] | None:
    """Encode the source image, and the masked image if the model reads it, once for all rows; each has its stream.

    None without an image or without denoiser calls.
    """
    if plan.source is None or not plan.calls:
        return None
    layout = plan.mask_layout
    if not layout or plan.strength != 1:
        latents: Sequence[Array | None] = list(_encode_pixels(model, plan, plan.source.pixels, streams))
    else:  # rows start from pure noise
        latents = [None] * len(streams)
        if layout.draws_source:
            _skip_posterior_noise(model, plan, streams)
    noises = [stream.normal(plan.shape) for stream in streams]
    if plan.source.repaint is None:
        return [ImageStart(own, noise) for own, noise in zip(latents, noises, strict=True)]
    if not layout:
        _skip_posterior_noise(model, plan, streams)  # for the masked image
        keep = kept_share(plan.source.repaint, plan.shape, smooth=model.spec.smooth_mask)
        return [ImageStart(own, noise, keep) for own, noise in zip(latents, noises, strict=True)]
    masked = _encode_pixels(model, plan, np.where(plan.source.repaint, np.float32(0.5), plan.source.pixels), streams)
    mask = downscale_mask(plan.source.repaint, plan.shape, layout.cells).astype(np.float32)
    extra_channels = [np.concatenate((own, mask) if layout.last else (mask, own)) for own in masked]
    return [
        ImageStart(own, noise, extra_channels=extra)
        for own, noise, extra in zip(latents, noises, extra_channels, strict=True)
    ]


def _encode_pixels(model: Model, plan: Plan, pixels: Array, streams: Sequence[Noise]) -> Array:
    """Return latents [n, c, h, w] of pixels [3, H, W], each with noise of its stream."""
    noise = np.stack([_posterior_noise(model, plan, stream) for stream in streams])
    latents = model.encode_pixels(pixels[np.newaxis], noise)
    if latents.shape != noise.shape:
        raise GenerationFailed(f"the image encoder returned shape {list(latents.shape)}, expected {list(noise.shape)}")
    return latents


def _skip_posterior_noise(model: Model, plan: Plan, streams: Sequence[Noise]) -> None:
    """Draw the noise of each stream for an image that is not encoded here, as in diffusers."""
    for stream in streams:
        _posterior_noise(model, plan, stream)


def _posterior_noise(model: Model, plan: Plan, stream: Noise) -> Array:
    """Return a stream's noise for the encoder's posterior; an encoder without one draws none, as in diffusers."""
    return stream.normal(plan.shape) if model.spec.draws_posterior else np.zeros(plan.shape, np.float32)


def downscale_mask(mask: Mask, shape: LatentShape, cells: int = 1) -> Mask:
    """Return a mask [H, W] as `cells` x `cells` channels [cells^2, h, w] in the size of latents of `shape` [c, h, w].

    The upper left pixel decides for each cell of a latent, as in diffusers. The API layer then restores all kept
    pixels.
    """
    _, height, width = shape
    fine = mask[:: mask.shape[0] // (height * cells), :: mask.shape[1] // (width * cells)]
    return fine.reshape(height, cells, width, cells).transpose(1, 3, 0, 2).reshape(cells**2, height, width)


def kept_share(mask: Mask, shape: LatentShape, *, smooth: bool) -> Array:
    """Return which share of each latent of `shape` [c, h, w] a mask [H, W] keeps: [h, w], 0 or 1.

    With `smooth` it is 0 to 1: the four pixels in the middle of a latent decide, as in FLUX.2's pipeline.
    """
    if not smooth:
        return np.asarray(~downscale_mask(mask, shape)[0], np.float32)
    _, height, width = shape
    down, across = mask.shape[0] // height, mask.shape[1] // width
    rows, columns = slice(down // 2 - 1, down // 2 + 1), slice(across // 2 - 1, across // 2 + 1)
    middle = mask.reshape(height, down, width, across)[:, rows, :, columns]
    return np.asarray(1 - middle.mean(axis=(1, 3), dtype=np.float32), np.float32)
