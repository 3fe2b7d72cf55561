"""How fast a diffusion destroyed its images: the beta schedules that diffusers knows.

The published models are sampled with float32 betas: that rounding is part of the picture and is kept, bit for bit as
torch rounds; everything after it is float64.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .table import Floats

Betas = NDArray[np.float32]


def linear(n: int, start: float, end: float) -> Betas:
    """Ho et al. 2006.11239, section 4."""
    return _linspace(start, end, n)


def scaled_linear(n: int, start: float, end: float) -> Betas:
    """Return betas linear in their square root: Rombach et al. 2112.10752, as in its code."""
    return np.square(_linspace(start**0.5, end**0.5, n))


def cosine(n: int, start: float, end: float) -> Betas:  # noqa: ARG001 - has its own ends
    """Nichol & Dhariwal 2102.09672, eq. 17."""
    bar = np.cos((np.arange(n + 1) / n + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.asarray(np.minimum(1 - bar[1:] / bar[:-1], 0.999), np.float32)


def _linspace(start: float, end: float, n: int) -> Betas:
    """Return what torch.linspace does in float32: from both ends to the middle, a rounded step, fused multiply-add."""
    low, high = np.float32(start), np.float32(end)
    step = float((high - low) / np.float32(n - 1)) if n > 1 else 0.0
    i = np.arange(n)
    return np.where(i < n // 2, float(low) + step * i, float(high) - step * (n - 1 - i)).astype(np.float32)


BETAS: dict[str, Callable[[int, float, float], Betas]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "squaredcos_cap_v2": cosine,
}


def alphas_cumprod(betas: Betas | Sequence[float], *, zero_snr: bool = False) -> Floats:
    """Return the running product of 1 - beta [T], as float64; with `zero_snr` the last one is exactly 0."""
    cumprod = _cumprod(np.float32(1) - np.asarray(betas, np.float32))
    if zero_snr:
        cumprod = _zero_terminal_snr(cumprod)
    return cumprod.astype(np.float64)


def _cumprod(factors: Betas) -> Betas:
    """Multiply as torch does: accumulated in float64, rounded to float32."""
    return np.cumprod(factors.astype(np.float64)).astype(np.float32)


def _zero_terminal_snr(cumprod: Betas) -> Betas:
    """Shift and scale sqrt(cumprod) so that it keeps its first value and ends in 0: Lin et al. 2305.08891, alg. 1."""
    root = np.sqrt(cumprod)
    bar = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
    betas = 1 - np.append(bar[:1], bar[1:] / bar[:-1])
    return _cumprod(1 - betas)
