"""How fast a diffusion destroyed its images: the beta schedules that diffusers knows.

The published models were trained and are sampled with float32 betas: that rounding is part of them and is kept;
everything after it is float64.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .table import Floats

Betas = NDArray[np.float32]


def linear(n: int, start: float, end: float) -> Betas:
    """Ho et al. 2006.11239, section 4."""
    return np.linspace(start, end, n).astype(np.float32)


def scaled_linear(n: int, start: float, end: float) -> Betas:
    """Return betas linear in their square root: Rombach et al. 2112.10752, as in its code."""
    return np.linspace(start**0.5, end**0.5, n).astype(np.float32) ** 2


def cosine(n: int, start: float, end: float) -> Betas:  # noqa: ARG001 - has its own ends
    """Nichol & Dhariwal 2102.09672, eq. 17."""
    bar = np.cos((np.arange(n + 1) / n + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - bar[1:] / bar[:-1], 0.999).astype(np.float32)


BETAS: dict[str, Callable[[int, float, float], Betas]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "squaredcos_cap_v2": cosine,
}


def alphas_cumprod(betas: Betas | Sequence[float], *, zero_snr: bool = False) -> Floats:
    """Return the running product of 1 - beta [T], float64; with `zero_snr` the last one is exactly 0."""
    betas = np.asarray(betas, np.float32)
    if zero_snr:
        return _zero_terminal_snr(np.cumprod(1.0 - betas.astype(np.float64)))
    return np.cumprod((np.float32(1) - betas).astype(np.float64)).astype(np.float32).astype(np.float64)


def _zero_terminal_snr(cumprod: Floats) -> Floats:
    """Shift and scale sqrt(cumprod) so that it keeps its first value and ends in 0: Lin et al. 2305.08891, alg. 1."""
    root = np.sqrt(cumprod)
    return np.asarray(((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2)
