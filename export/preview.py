"""Fit the linear preview of latents: a matrix [channels, 3] and a bias [3] that map latents to colours in 0..1.

The fit is by least squares on random smooth latents decoded by the VAE: rgb = weights.T @ latent + bias. `latent` is
one cell, scaled as for the denoiser, and rgb is the mean of the pixels that the cell decodes to. Such a preview costs
almost nothing at each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Decode = Callable[[Array], Array]

# Size of random squares in cells -> their weight: in images, most of the variation is in large shapes.
SCALES = {8: 0.7, 4: 0.5, 2: 0.4, 1: 0.3}
DIGITS = 5


@dataclass(frozen=True, slots=True)
class PreviewFit:
    """Weights [channels, 3] and bias [3]; `error` is the RMS difference from the decoded image, in 0..1.

    `spread` is the RMS difference of the decoded image from its mean colour: the error of a fit that explains nothing.
    """

    weights: Array
    bias: Array
    error: float
    spread: float

    def as_json(self) -> dict[str, Any]:
        """Return the manifest's `preview`."""
        return {"latent_to_rgb": _round(self.weights), "bias": _round(self.bias)}


def fit(decode: Decode, channels: int, *, size: int = 32, count: int = 8, seed: int = 0) -> PreviewFit:
    """Fit on the first three quarters of `count` random latents [channels, size, size]; the others give the error.

    `decode` maps latents [1, c, h, w], scaled as for the denoiser, to pixels [1, 3, H, W] in 0..1.
    """
    latents = smooth_latents(np.random.default_rng(seed), (count, channels, size, size))
    colours = np.concatenate([_shrink(decode(latent[None]), size) for latent in latents])
    kept = count - count // 4
    weights, bias = _solve(latents[:kept], colours[:kept])
    guess = np.einsum("nchw,ck->nkhw", latents[kept:], weights) + bias[:, None, None]
    truth = colours[kept:]
    spread = truth - truth.mean((0, 2, 3), keepdims=True)
    return PreviewFit(weights, bias, _rms(np.clip(guess, 0, 1) - truth), _rms(spread))


def smooth_latents(random: np.random.Generator, shape: tuple[int, int, int, int]) -> Array:
    """Return random latents [n, c, h, w] of unit variance, as smooth as those of images."""
    n, c, h, w = shape
    latents = np.zeros(shape)
    for cell, share in SCALES.items():
        coarse = random.standard_normal((n, c, -(-h // cell), -(-w // cell)))
        latents += share * coarse.repeat(cell, 2).repeat(cell, 3)[:, :, :h, :w]
    return (latents / latents.std()).astype(np.float32)


def _shrink(pixels: Array, size: int) -> Array:
    """Average pixels [1, 3, H, W] over the square of each latent cell."""
    _, _, height, width = pixels.shape
    return pixels.reshape(1, 3, size, height // size, size, width // size).mean((3, 5))


def _solve(latents: Array, colours: Array) -> tuple[Array, Array]:
    rows = np.moveaxis(latents, 1, -1).reshape(-1, latents.shape[1])
    rows = np.column_stack([rows, np.ones(len(rows))])
    solution = np.linalg.lstsq(rows, np.moveaxis(colours, 1, -1).reshape(-1, 3), rcond=None)[0]
    return solution[:-1].astype(np.float32), solution[-1].astype(np.float32)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def _round(values: Array) -> Any:
    return np.round(values.astype(np.float64), DIGITS).tolist()
