"""The VAE: latents to pixels and back, large images in tiles.

Pixels are float32 in 0..1; the graphs use -1..1. Latents are those of the denoiser:
(latents of the graph - shift_factor) * scaling_factor.

Values that are not finite are an error, because a decoder that overflows in half precision would otherwise return a
black image. They are decoded again in float32 if the folder has such a decoder. A finite black image is returned; the
engine decides what it means.

A graph needs memory for its whole input: for 2048 x 2048 pixels a published decoder takes about 20 GB, and for tiles of
512 x 512 a sixteenth of that. So very large images are coded in tiles, and so are, for some minutes, sizes for which
memory was not sufficient. Tiles overlap, all have one shape, and their weights rise linearly over the overlap, so that
no edge is visible. A tile lacks what the VAE computes over the whole image (normalization, attention), so the result
differs slightly from that of the whole.
"""

from __future__ import annotations

from itertools import product
from math import ceil, inf
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import GenerationFailed, OutOfMemory, Unsupported
from ..files import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..family import VaeSpec
    from ..folder.configs import Factor
    from ..model import Array
    from ..runtime.session import Session

_LOG_VARIANCE = (-30.0, 20.0)  # diffusers' DiagonalGaussianDistribution clamps to these

MAX_WHOLE = 2048 * 2048  # pixels; larger images are coded in tiles at once
RETRY_AFTER = 600.0  # seconds after which a size that did not fit in memory is tried again
TILE, OVERLAP = 512, 128  # pixels; the overlap is a quarter, as in diffusers


class Vae:
    """A decoder; its encoder, and its decoder in float32, are loaded when they are first needed.

    Args:
        decoder: The decoder's session.
        open_encoder: Loads the encoder; None if the folder has none.
        spec: The names of the graphs' inputs.
        open_decoder_fp32: Loads the decoder in float32; None if the folder has none.
        scaling_factor: Factor of the latents, of all channels or of each.
        shift_factor: Subtracted from the graph's latents before they are multiplied; of all channels or of each.
        downscale: Width of a latent in pixels.
        clock: Returns seconds that never decrease.
    """

    def __init__(
        self,
        decoder: Session,
        open_encoder: Callable[[], Session] | None,
        spec: VaeSpec,
        *,
        open_decoder_fp32: Callable[[], Session] | None = None,
        scaling_factor: Factor = 1.0,
        shift_factor: Factor = 0.0,
        downscale: int = 8,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        decoder.require(inputs=(spec.latents,), output=decoder.outputs[0])
        self._decoder, self._spec = decoder, spec
        self._open_encoder, self._open_decoder_fp32 = open_encoder, open_decoder_fp32
        self._scaling, self._shift = _per_channel(scaling_factor), _per_channel(shift_factor)
        self._downscale = downscale
        self._encoder: Session | None = None
        self._decoder_fp32: Session | None = None
        self._clock = clock
        self._too_large: dict[str, tuple[int, float]] = {}

    def decode(self, latents: Array) -> Array:
        """Decode latents [n, c, h, w] to pixels [n, 3, H, W].

        Raises:
            GenerationFailed: latents or pixels are not finite.
            OutOfMemory: memory is not sufficient for a tile.
        """
        _require_finite(latents, "latents")
        inner = latents / self._scaling + self._shift
        pixels = self._decode(self._decoder, inner)
        if self._open_decoder_fp32 and not np.isfinite(pixels).all():
            self._decoder_fp32 = self._decoder_fp32 or self._open_decoder_fp32()
            pixels = self._decode(self._decoder_fp32, inner)
        _require_finite(pixels, "pixels")
        pixels = pixels * np.float32(0.5)
        pixels += np.float32(0.5)
        np.clip(pixels, 0, 1, out=pixels)
        return pixels

    # Latents and results on the device: `resident.decoding`.

    @property
    def device(self) -> str:
        """Onnxruntime's name of the device where the decoder's result may stay; empty if it is always fetched."""
        return self._decoder.device

    @property
    def latents_dtype(self) -> str:
        """Numpy's name of the type of the decoder's latents."""
        return np.dtype(self._decoder.types[self._spec.latents]).name

    @property
    def factors(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The scaling factor and the shift factor, of all channels or of each."""
        return tuple(self._scaling.ravel().tolist()), tuple(self._shift.ravel().tolist())

    def decodes_whole(self, shape: Sequence[int]) -> bool:
        """Return whether latents of a shape [n, c, h, w] are decoded at once and not in tiles."""
        return shape[2] * shape[3] * self._downscale**2 < self._size_limit("decode")

    def decode_on_device(self, latents: Any) -> Any:
        """Call the decoder on latents of the graph; the result, in -1..1, stays on the device until the next call.

        Raises:
            OutOfMemory: memory is not sufficient; later images of this size are decoded in tiles.
        """
        try:
            return self._decoder.compute_on_device(self._decoder.outputs[0], {}, {self._spec.latents: latents})
        except OutOfMemory:
            _, _, height, width = latents.shape()
            if height * width * self._downscale**2 > TILE**2:
                self.tile_from(height * width * self._downscale**2)
            raise

    def encode(self, pixels: Array, noise: Array) -> Array:
        """Draw latents [n, c, h, w] of pixels [n or 1, 3, H, W] from the posterior.

        `noise` [n, c, h, w] is standard normal; one image for several noises is encoded once.

        Raises:
            Unsupported: the model's folder has no encoder.
            ModelFileError: the encoder belongs to another model.
            GenerationFailed: the latents are not finite.
            OutOfMemory: memory is not sufficient for a tile.
        """
        if self._open_encoder is None:
            raise Unsupported("image", "this model has no image encoder (vae_encoder)")
        if self._encoder is None:
            encoder = self._open_encoder()
            encoder.require(inputs=(self._spec.pixels,), output=encoder.outputs[0])
            self._encoder = encoder
        parameters = self._encode(self._encoder, pixels * np.float32(2) - np.float32(1))
        if parameters.shape[1] not in (noise.shape[1], 2 * noise.shape[1]) or parameters.shape[2:] != noise.shape[2:]:
            shapes = f"{parameters.shape[1:]} for latents of {noise.shape[1:]}"
            raise ModelFileError(f"{self._encoder.label} gives {shapes}: it belongs to another model")
        latents = (_posterior(parameters, noise) - self._shift) * self._scaling
        _require_finite(latents, "latents")
        return latents

    def _decode(self, decoder: Session, latents: Array) -> Array:
        def run(tile: Array) -> Array:
            return decoder.run(decoder.outputs[0], **{self._spec.latents: tile})

        scale = self._downscale
        return self._code("decode", run, latents, scale**2, tile=TILE // scale, overlap=OVERLAP // scale)

    def _encode(self, encoder: Session, pixels: Array) -> Array:
        def run(tile: Array) -> Array:
            return encoder.run(encoder.outputs[0], **{self._spec.pixels: tile})

        return self._code("encode", run, pixels, 1, tile=TILE, overlap=OVERLAP, unit=self._downscale)

    def _code(self, verb: str, run: Callable[[Array], Array], whole: Array, area: int, **tiling: int) -> Array:
        """Run on the whole, or on tiles if it is too large or memory is not sufficient."""
        size = whole.shape[2] * whole.shape[3] * area
        if size < self._size_limit(verb):
            try:
                return run(whole)
            except OutOfMemory:
                if size <= TILE**2:
                    raise
                self.tile_from(size, verb)
        return run_tiled(run, whole, **tiling)

    def tile_from(self, size: int, verb: str = "decode") -> None:
        """Code images of `size` pixels and larger ones in tiles for some minutes, because memory was not sufficient."""
        self._too_large[verb] = size, self._clock() + RETRY_AFTER

    def _size_limit(self, verb: str) -> int:
        """Return the smallest size in pixels that is coded in tiles at once."""
        size, until = self._too_large.get(verb, (MAX_WHOLE + 1, inf))
        if self._clock() >= until:
            del self._too_large[verb]
            return MAX_WHOLE + 1
        return size


def _per_channel(factor: Factor) -> Array:
    """Return a factor as an array that broadcasts over latents [n, c, h, w]."""
    return np.asarray(factor, np.float32).reshape(-1, 1, 1)


def _posterior(parameters: Array, noise: Array) -> Array:
    """Draw from the posterior [n, 2c, h, w] (mean, log of the variance); [n, c, h, w] is already drawn by the graph."""
    if parameters.shape[1] == noise.shape[1]:
        return np.broadcast_to(parameters, noise.shape)
    mean, log_variance = np.split(parameters, 2, axis=1)
    deviation = np.exp(np.clip(log_variance, *_LOG_VARIANCE) * np.float32(0.5))
    return np.asarray(mean + deviation * noise, np.float32)


def _require_finite(array: Array, name: str) -> None:
    rows = [str(row) for row, values in enumerate(array) if not np.isfinite(values).all()]
    if rows:
        raise GenerationFailed(f"the {name} of image {', '.join(rows)} of {len(array)} in this call are not finite")


def run_tiled(run: Callable[[Array], Array], whole: Array, *, tile: int, overlap: int, unit: int = 1) -> Array:
    """Call `run` ([n, c, h, w] -> [n, d, h s, w s], any s) on overlapping tiles of `whole`, and blend the results.

    Tiles are `tile` wide and high, or as the whole if that is smaller, and overlap by at least `overlap`. They begin at
    multiples of `unit`; the sides of the whole, `tile` and `overlap` must be multiples of it.
    """
    height, width = whole.shape[2:]
    tall, wide = min(tile, height), min(tile, width)
    places = product(_tile_starts(height, tall, overlap, unit), _tile_starts(width, wide, overlap, unit))
    total, weights = np.zeros(0, np.float32), np.zeros(0, np.float32)
    for top, left in places:
        result = run(np.ascontiguousarray(whole[:, :, top : top + tall, left : left + wide]))
        high, broad = result.shape[2:]
        if not total.size:
            total = np.zeros((*result.shape[:2], height * high // tall, width * broad // wide), np.float32)
            weights = np.zeros(total.shape[2:], np.float32)
        y, x = top * high // tall, left * broad // wide
        ramp = _tile_weights(high, overlap * high // tall)[:, None] * _tile_weights(broad, overlap * broad // wide)
        total[:, :, y : y + high, x : x + broad] += result * ramp
        weights[y : y + high, x : x + broad] += ramp
    return total / weights


def _tile_starts(side: int, tile: int, overlap: int, unit: int) -> list[int]:
    """Return the starts of evenly spaced tiles; the first is 0, and the last tile ends at `side`."""
    count = max(ceil((side - overlap) / (tile - overlap)), 1) if side > tile else 1
    return [round(i * (side - tile) / unit / max(count - 1, 1)) * unit for i in range(count)]


def _tile_weights(side: int, overlap: int) -> Array:
    """Return weights [side] that rise over the overlap and fall at the end; at borders they cancel out."""
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    return np.asarray(np.minimum(distance / max(overlap, 1), 1), np.float32)
