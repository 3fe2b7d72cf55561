"""Classifier-free guidance: Ho & Salimans 2207.12598, one scale per row."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Batch = NDArray[np.float32]


def guide(uncond: Batch, cond: Batch, scale: ArrayLike, rescale: ArrayLike = 0.0) -> Batch:
    """Return the guided network output [n, ...], float32: uncond + scale * (cond - uncond).

    Args:
        uncond: Outputs [n, ...] for the negative prompt.
        cond: Outputs [n, ...] for the prompt.
        scale: guidance_scale [n] or one number; 1 returns `cond`.
        rescale: [n] or one number in 0..1: how far each row's standard deviation goes back to that of `cond`
            (Lin et al. 2305.08891, section 3.4, eq. 15 and 16).
    """
    guided = uncond + _per_row(scale, cond) * (cond - uncond)
    share = _per_row(rescale, cond)
    if not share.any():
        return np.asarray(guided)
    axes = tuple(range(1, cond.ndim))
    # torch's std, which diffusers uses, has n - 1 below the line; here that cancels.
    spread = cond.std(axis=axes, keepdims=True) / np.maximum(guided.std(axis=axes, keepdims=True), 1e-12)
    return np.asarray(guided * (share * spread + (1 - share)))


def _per_row(value: ArrayLike, like: Batch) -> Batch:
    return np.asarray(value, np.float32).reshape(-1, *[1] * (like.ndim - 1))
