"""Latents as a rough picture, without the decoder: a linear map from a latent's channels to red, green and blue.

An export of ours fits the map to the latents of real pictures. For other folders it is fitted here, to what the
decoder makes of smooth random latents: colours and shapes are recognisable, no more is promised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..spec import LatentToRgb

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import Array

_SIDE = 16  # of the random latents: enough for the decoder to show areas
_PICTURES = 6


def show(latents: Array, projection: LatentToRgb) -> Array:
    """Map latents [c, h, w] to pixels [3, h, w] in 0..1."""
    weights = np.array(projection.weights, np.float32)
    bias = np.array(projection.bias, np.float32)[:, None, None]
    return np.asarray(np.clip(np.einsum("cr,chw->rhw", weights, latents) + bias, 0, 1), np.float32)


def fit(decode: Callable[[Array], Array], channels: int) -> LatentToRgb:
    """Fit the map by least squares to a decoder (latents [n, c, h, w] -> pixels [n, 3, H, W])."""
    latents = smooth_latents(channels)
    pixels = np.concatenate([_shrink(decode(row[None])) for row in latents])
    known = latents.transpose(0, 2, 3, 1).reshape(-1, channels)
    known = np.concatenate([known, np.ones((len(known), 1), np.float32)], axis=1)
    solution = np.linalg.lstsq(known, pixels.transpose(0, 2, 3, 1).reshape(-1, 3), rcond=None)[0].tolist()
    rows = [(red, green, blue) for red, green, blue in solution]
    return LatentToRgb(tuple(rows[:-1]), rows[-1])


def smooth_latents(channels: int) -> Array:
    """Return random latents of unit variance whose areas are some latents wide, as those of pictures are."""
    random = np.random.default_rng(0)  # always the same, so that previews are
    coarse = random.standard_normal((_PICTURES, channels, 4, 4), np.float32)
    return np.repeat(np.repeat(coarse, _SIDE // 4, axis=2), _SIDE // 4, axis=3)


def _shrink(pixels: Array) -> Array:
    """Average pixels [n, 3, H, W] over the area of each latent, to [n, 3, 16, 16]."""
    n, colours, height, width = pixels.shape
    blocks = pixels.reshape(n, colours, _SIDE, height // _SIDE, _SIDE, width // _SIDE)
    return np.asarray(blocks.mean(axis=(3, 5)), np.float32)
