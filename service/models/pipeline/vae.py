"""Latents to pixels and back.

Pixels are float32 in 0..1, the graphs' are -1..1. Latents are those of the denoiser:
(latents of the graph - shift_factor) * scaling_factor.

What is not finite is no picture, and is reported: in half precision a decoder that overflows would else answer black.
One that is finite is handed on as it is: what black all over means, the engine judges.
Where the folder holds the decoder in float32 once more, what overflowed is decoded by that one.

Very large images are coded in tiles, and so are those for which there was not enough memory: for a while, because what
took the memory may have gone.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from ...errors import GenerationFailed, OutOfMemory, Unsupported
from ..files import ModelFileError, label
from .tiles import blended

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..family import VaePart
    from ..model import Array
    from ..runtime.session import Session

_LOG_VARIANCE = (-30.0, 20.0)  # diffusers' DiagonalGaussianDistribution clamps to these


WHOLE = 2048 * 2048  # pixels; more of them are coded in tiles without trying
FORGET = 600.0  # seconds after which a size that did not fit is tried again
TILE, OVERLAP = 512, 128  # pixels; a quarter, as in diffusers


class Vae:
    """Decoder, and an encoder and a decoder in float32 that are loaded when they are first needed.

    Args:
        decoder: The decoder's session.
        open_encoder: Loads the encoder, or None where the folder has none.
        part: What the graphs call their inputs.
        open_exact: Loads the decoder in float32, or None where the folder has none.
        scaling_factor: Factor of the latents.
        shift_factor: What is taken from the graph's latents before.
        downscale: How many pixels wide a latent is.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        decoder: Session,
        open_encoder: Callable[[], Session] | None,
        part: VaePart,
        *,
        open_exact: Callable[[], Session] | None = None,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
        downscale: int = 8,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        decoder.require(inputs=(part.latents,), output=decoder.outputs[0])
        self._decoder, self._open_encoder, self._open_exact, self._part = decoder, open_encoder, open_exact, part
        self._scaling, self._shift = np.float32(scaling_factor), np.float32(shift_factor)
        self._downscale = downscale
        self._encoder: Session | None = None
        self._exact: Session | None = None
        self._clock = clock
        self._too_large: dict[str, tuple[int, float]] = {}

    def decode(self, latents: Array) -> Array:
        """Decode latents [n, c, h, w] to pixels [n, 3, H, W].

        Raises:
            GenerationFailed: latents or pixels are not finite; says which.
            OutOfMemory: there is not enough memory for a tile.
        """
        _require_finite(latents, "latents")
        inner = latents / self._scaling + self._shift
        pixels = self._decoded(self._decoder, inner)
        if self._open_exact and not np.isfinite(pixels).all():
            self._exact = self._exact or self._open_exact()
            pixels = self._decoded(self._exact, inner)
        _require_finite(pixels, "pixels")
        pixels = pixels * np.float32(0.5)
        pixels += np.float32(0.5)
        np.clip(pixels, 0, 1, out=pixels)
        return pixels

    def encode(self, pixels: Array, noise: Array) -> Array:
        """Draw latents [n, c, h, w] of pixels [n or 1, 3, H, W] from the posterior; noise has the latents' shape.

        Noise is standard normal; one picture for several noises is encoded once.

        Raises:
            Unsupported: the model's folder has no encoder.
            ModelFileError: the encoder is of another model.
            GenerationFailed: the latents are not finite.
            OutOfMemory: there is not enough memory for a tile.
        """
        if self._open_encoder is None:
            raise Unsupported("image", "this model has no image encoder (vae_encoder)")
        if self._encoder is None:
            encoder = self._open_encoder()
            encoder.require(inputs=(self._part.pixels,), output=encoder.outputs[0])
            self._encoder = encoder
        parameters = self._encoded(self._encoder, pixels * np.float32(2) - np.float32(1))
        if parameters.shape[1] not in (noise.shape[1], 2 * noise.shape[1]) or parameters.shape[2:] != noise.shape[2:]:
            there = f"{label(self._encoder.path)} gives {parameters.shape[1:]} for latents of {noise.shape[1:]}"
            raise ModelFileError(f"{there}: it is of another model")
        latents = (_posterior(parameters, noise) - self._shift) * self._scaling
        _require_finite(latents, "latents")
        return latents

    def _decoded(self, decoder: Session, latents: Array) -> Array:
        def run(part: Array) -> Array:
            return decoder.run(decoder.outputs[0], **{self._part.latents: part})

        scale = self._downscale
        return self._coded("decode", run, latents, scale**2, tile=TILE // scale, overlap=OVERLAP // scale)

    def _encoded(self, encoder: Session, pixels: Array) -> Array:
        def run(part: Array) -> Array:
            return encoder.run(encoder.outputs[0], **{self._part.pixels: part})

        return self._coded("encode", run, pixels, 1, tile=TILE, overlap=OVERLAP, unit=self._downscale)

    def _coded(self, verb: str, run: Callable[[Array], Array], whole: Array, area: int, **tiling: int) -> Array:
        """Run on the whole, or on tiles where that is known to be too large, or turns out to be."""
        size = whole.shape[2] * whole.shape[3] * area
        if size < self._limit(verb):
            try:
                return run(whole)
            except OutOfMemory:
                if size <= TILE**2:
                    raise
                self._too_large[verb] = size, self._clock() + FORGET
        return blended(run, whole, **tiling)

    def _limit(self, verb: str) -> int:
        """Return the smallest size in pixels that is not tried as a whole."""
        size, until = self._too_large.get(verb, (WHOLE + 1, inf))
        if self._clock() >= until:
            del self._too_large[verb]
            return WHOLE + 1
        return size


def _posterior(parameters: Array, noise: Array) -> Array:
    """Draw from the posterior [n, 2c, h, w] (mean, log of the variance); a graph that gives [n, c, h, w] has drawn."""
    if parameters.shape[1] == noise.shape[1]:
        return np.broadcast_to(parameters, noise.shape)
    mean, log_variance = np.split(parameters, 2, axis=1)
    deviation = np.exp(np.clip(log_variance, *_LOG_VARIANCE) * np.float32(0.5))
    return np.asarray(mean + deviation * noise, np.float32)


def _require_finite(array: Array, name: str) -> None:
    rows = [str(row) for row, values in enumerate(array) if not np.isfinite(values).all()]
    if rows:
        raise GenerationFailed(f"the {name} of picture {', '.join(rows)} of {len(array)} in this call are not finite")
