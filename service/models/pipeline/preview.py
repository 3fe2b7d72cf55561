"""Previews of latents without the decoder: a linear map from a latent's channels to red, green and blue.

`tintype export` fits the map to the latents of real images. For other folders it is fitted here, to decoded smooth
random latents; colours and shapes are then recognisable, but no more than that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..spec import LatentToRgb

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import Array

_SIDE = 16  # of the random latents: large enough for the decoder to show areas
_SAMPLES = 6
_MANY = 32  # channels from which areas are half as wide, because a fit needs more areas than channels


def preview(latents: Array, projection: LatentToRgb) -> Array:
    """Map latents [c, h, w] to pixels [3, h, w] in 0..1."""
    weights = np.array(projection.weights, np.float32)
    bias = np.array(projection.bias, np.float32)[:, None, None]
    return np.asarray(np.clip(np.einsum("cr,chw->rhw", weights, latents) + bias, 0, 1), np.float32)


def fit_projection(decode: Callable[[Array], Array], channels: int) -> LatentToRgb:
    """Fit the map by least squares to a decoder: latents [n, c, h, w] -> pixels [n, 3, H, W]."""
    latents = smooth_latents(channels)
    pixels = np.concatenate([_shrink(decode(row[None])) for row in latents])
    features = latents.transpose(0, 2, 3, 1).reshape(-1, channels)
    features = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
    solution = np.linalg.lstsq(features, pixels.transpose(0, 2, 3, 1).reshape(-1, 3), rcond=None)[0].tolist()
    rows = [(red, green, blue) for red, green, blue in solution]
    return LatentToRgb(tuple(rows[:-1]), rows[-1])


def smooth_latents(channels: int) -> Array:
    """Return random latents of unit variance in areas several latents wide, like those of images."""
    random = np.random.default_rng(0)  # a fixed seed, so that previews do not change
    areas = 8 if channels >= _MANY else 4  # of a side
    coarse = random.standard_normal((_SAMPLES, channels, areas, areas), np.float32)
    return np.repeat(np.repeat(coarse, _SIDE // areas, axis=2), _SIDE // areas, axis=3)


def _shrink(pixels: Array) -> Array:
    """Return pixels [n, 3, H, W] averaged over the area of each latent: [n, 3, 16, 16]."""
    n, colours, height, width = pixels.shape
    blocks = pixels.reshape(n, colours, _SIDE, height // _SIDE, _SIDE, width // _SIDE)
    return np.asarray(blocks.mean(axis=(3, 5)), np.float32)
