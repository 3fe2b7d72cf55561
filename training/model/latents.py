"""Latents without a learned encoder: principal components of image patches, partly whitened.

An image is reduced to 128 by 128 and cut into 16 by 16 patches of 8 by 8 pixels, 192 numbers each. The first `CHANNELS`
components of a patch are its latent. They are fixed before any training, so the denoiser and the decoder can be
trained independently, at the same time.
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
# Component k gets the standard deviation (s_k / s_0) ** WHITENING: 0 is full whitening, 1 is none.
# Full whitening gives the faintest detail the weight of the sky; without whitening it is weaker than the noise.
WHITENING = 0.45

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PatchBasis:
    """A linear map between patches and latents.

    `mean` [192] of all patches; `basis` [192, k] from patches to latents; `inverse` [192, k] from latents to patches.
    """

    mean: Floats
    basis: Floats
    inverse: Floats

    @classmethod
    def fit(cls, images: NDArray[np.uint8], channels: int = CHANNELS) -> PatchBasis:
        """Fit the first `channels` components to images, uint8 [n, 256, 256, 3]."""
        rows = cut_patches(images).transpose(0, 2, 3, 1).reshape(-1, 3 * PATCH * PATCH)
        mean = rows.mean(0)
        centered = rows - mean
        values, vectors = np.linalg.eigh(centered.T @ centered / len(rows))
        deviation, axes = np.sqrt(values[::-1][:channels]), vectors[:, ::-1][:, :channels]
        target = (deviation / deviation[0]) ** WHITENING
        return cls(mean, axes * (target / deviation), axes * (deviation / target))

    def encode(self, images: NDArray[np.uint8]) -> Floats:
        """Encode images, uint8 [n, 256, 256, 3], to latents, float32 [n, channels, 16, 16]."""
        return np.einsum("nchw,ck->nkhw", cut_patches(images) - self.mean[:, None, None], self.basis, optimize=True)

    def save(self, path: Path) -> None:
        """Write the three arrays as an `.npz` file."""
        np.savez(path, mean=self.mean, basis=self.basis, inverse=self.inverse)

    @classmethod
    def load(cls, path: Path) -> PatchBasis:
        """Read a file that `save` wrote."""
        with np.load(path) as stored:
            return cls(stored["mean"], stored["basis"], stored["inverse"])


def cut_patches(images: NDArray[np.uint8]) -> Floats:
    """Cut images, uint8 [n, 256, 256, 3], into patches, float32 [n, 192, 16, 16] in -1..1.

    The 192 numbers are ordered by colour, row and column.
    """
    count = len(images)
    split = images.reshape(count, GRID, PATCH, SHRINK, GRID, PATCH, SHRINK, 3).astype(np.float32)
    small = split.mean((3, 6)) / np.float32(127.5) - 1
    return small.transpose(0, 5, 2, 4, 1, 3).reshape(count, 3 * PATCH * PATCH, GRID, GRID)
