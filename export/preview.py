"""The linear picture of latents: colours in 0..1 that a matrix of [channels, 3] and a bias of 3 make of them.

Fitted by least squares on random smooth latents, decoded by the VAE's own graph: rgb = weights.T @ latent + bias,
where `latent` is scaled as the denoiser knows it and rgb is the mean of the pixels that it becomes. Such a picture
costs nothing and shows in the middle of the work what will come.
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

# How much of the latents' spread lies at each coarseness: pictures have most of theirs in large shapes.
WAVES = {8: 0.7, 4: 0.5, 2: 0.4, 1: 0.3}
DIGITS = 5


@dataclass(frozen=True, slots=True)
class Fit:
    """Weights [channels, 3] and bias [3], and how far their picture is from the true one, as RMS in 0..1.

    `spread` is the RMS of the true picture about its mean: a fit that explains nothing has an error as large.
    """

    weights: Array
    bias: Array
    error: float
    spread: float

    def as_json(self) -> dict[str, Any]:
        """Return what the manifest holds under `preview`."""
        return {"latent_to_rgb": _rounded(self.weights), "bias": _rounded(self.bias)}


def fit(decode: Decode, channels: int, *, size: int = 32, count: int = 8, seed: int = 0) -> Fit:
    """Fit on `count` random latents [channels, size, size]; the last quarter of them measures the error.

    `decode` takes latents [1, c, h, w], scaled as the denoiser knows them, to pixels [1, 3, H, W] in 0..1.
    """
    latents = smooth_latents(np.random.default_rng(seed), (count, channels, size, size))
    colours = np.concatenate([_shrink(decode(latent[None]), size) for latent in latents])
    kept = count - count // 4
    weights, bias = _solve(latents[:kept], colours[:kept])
    guess = np.einsum("nchw,ck->nkhw", latents[kept:], weights) + bias[:, None, None]
    truth = colours[kept:]
    spread = truth - truth.mean((0, 2, 3), keepdims=True)
    return Fit(weights, bias, _rms(np.clip(guess, 0, 1) - truth), _rms(spread))


def smooth_latents(random: np.random.Generator, shape: tuple[int, int, int, int]) -> Array:
    """Draw latents [n, c, h, w] of unit variance, smooth as those of pictures are."""
    n, c, h, w = shape
    latents = np.zeros(shape)
    for wave, share in WAVES.items():
        coarse = random.standard_normal((n, c, -(-h // wave), -(-w // wave)))
        latents += share * coarse.repeat(wave, 2).repeat(wave, 3)[:, :, :h, :w]
    return (latents / latents.std()).astype(np.float32)


def _shrink(pixels: Array, size: int) -> Array:
    """Average pixels [1, 3, H, W] over the squares that the latents' cells became."""
    _, _, height, width = pixels.shape
    return pixels.reshape(1, 3, size, height // size, size, width // size).mean((3, 5))


def _solve(latents: Array, colours: Array) -> tuple[Array, Array]:
    rows = np.moveaxis(latents, 1, -1).reshape(-1, latents.shape[1])
    rows = np.column_stack([rows, np.ones(len(rows))])
    solution = np.linalg.lstsq(rows, np.moveaxis(colours, 1, -1).reshape(-1, 3), rcond=None)[0]
    return solution[:-1].astype(np.float32), solution[-1].astype(np.float32)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def _rounded(values: Array) -> Any:
    return np.round(values.astype(np.float64), DIGITS).tolist()
