"""Latents without a learned encoder: principal components of the picture's patches, partly whitened.

The picture is shrunk to 128 by 128 and cut into 8 by 8 patches (16 by 16 of them, 192 numbers each); the first
`CHANNELS` components of a patch are its latent.  Being fixed before anything is trained, they let the denoiser and
the decoder train independently of each other, at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS = 16
PATCH = 8
SHRINK = 2
GRID = 16
# Component k gets the standard deviation (s_k / s_0) ** WHITENING: 0 would be full whitening, 1 none at all.
# Full whitening makes the faintest detail as loud as the sky; none leaves it below the noise.
WHITENING = 0.45

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Components:
    """`mean` [192]; `basis` [192, k] from patches to latents; `inverse` [192, k] back."""

    mean: Floats
    basis: Floats
    inverse: Floats

    @classmethod
    def fit(cls, pictures: NDArray[np.uint8], channels: int = CHANNELS) -> Components:
        """The components of pictures uint8 [n, 256, 256, 3]."""
        rows = patches(pictures).transpose(0, 2, 3, 1).reshape(-1, 3 * PATCH * PATCH)
        mean = rows.mean(0)
        centered = rows - mean
        values, vectors = np.linalg.eigh(centered.T @ centered / len(rows))
        deviation, axes = np.sqrt(values[::-1][:channels]), vectors[:, ::-1][:, :channels]
        wanted = (deviation / deviation[0]) ** WHITENING
        return cls(mean, axes * (wanted / deviation), axes * (deviation / wanted))

    def encode(self, pictures: NDArray[np.uint8]) -> Floats:
        """Latents float32 [n, channels, 16, 16] of pictures uint8 [n, 256, 256, 3]."""
        return np.einsum("nchw,ck->nkhw", patches(pictures) - self.mean[:, None, None], self.basis, optimize=True)

    def save(self, path: Path) -> None:
        """Write the three arrays as an `.npz` file."""
        np.savez(path, mean=self.mean, basis=self.basis, inverse=self.inverse)

    @classmethod
    def load(cls, path: Path) -> Components:
        """Read what `save` wrote."""
        with np.load(path) as stored:
            return cls(stored["mean"], stored["basis"], stored["inverse"])


def patches(pictures: NDArray[np.uint8]) -> Floats:
    """Patches float32 [n, 192, 16, 16] in -1..1 of pictures uint8 [n, 256, 256, 3]; colour, row, column."""
    count = len(pictures)
    split = pictures.reshape(count, GRID, PATCH, SHRINK, GRID, PATCH, SHRINK, 3).astype(np.float32)
    small = split.mean((3, 6)) / np.float32(127.5) - 1
    return small.transpose(0, 5, 2, 4, 1, 3).reshape(count, 3 * PATCH * PATCH, GRID, GRID)
