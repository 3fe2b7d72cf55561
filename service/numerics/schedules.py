"""Schedules: how the noise levels of a run are spread between the highest and the lowest.

Levels are k-diffusion's sigma, the ratio of noise to signal (flow models: the noise's share). Every schedule takes

    own         [n] the model's own levels at evenly spaced timesteps, falling
    low, high   the range to cover

and returns [n + 1] float64 levels, falling, the last one 0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .choices import Incompatible, compact_name
from .table import Floats

Schedule = Callable[[Floats, float, float], Floats]


def normal(own: Floats, low: float, high: float) -> Floats:  # noqa: ARG001 - its range is its own
    """Return the levels that the model was trained on, evenly spaced in time."""
    return np.append(own, 0.0)


def karras(own: Floats, low: float, high: float) -> Floats:
    """Spread sigma^(1/7) evenly: Karras et al. 2206.00364, eq. 5."""
    rho = 7.0
    return np.append(np.linspace(high ** (1 / rho), low ** (1 / rho), len(own)) ** rho, 0.0)


def exponential(own: Floats, low: float, high: float) -> Floats:
    """Spread log sigma evenly; it is uniform in lambda too: Lu et al. 2206.00927, section 3."""
    return np.append(np.exp(np.linspace(math.log(high), math.log(low), len(own))), 0.0)


def beta(own: Floats, low: float, high: float) -> Floats:
    """Spread sigma by the quantiles of Beta(0.6, 0.6), dense at both ends: Lee et al. 2407.12173."""
    return np.append(low + _beta_shares(len(own)) * (high - low), 0.0)


@lru_cache(maxsize=64)
def _beta_shares(n: int) -> Floats:
    """Return n quantiles of Beta(0.6, 0.6), falling from 1 to 0: a millisecond or two, hence kept."""
    shares = beta_quantiles(np.linspace(1, 0, n), 0.6)
    shares.setflags(write=False)
    return shares


def linear_quadratic(own: Floats, low: float, high: float) -> Floats:  # noqa: ARG001 - ends in 0
    """Fall linearly to 0.975 in half of the steps, then as a parabola: Mochi's, as in diffusers and ComfyUI."""
    n, threshold = len(own), 0.025
    if n == 1:
        return np.array([high, 0.0])
    linear = n // 2
    rest = n - linear
    surplus = linear - threshold * n
    bend = surplus / (linear * rest**2)
    slope = threshold / linear - 2 * surplus / rest**2
    i = np.arange(n + 1)
    done = np.where(i < linear, threshold * i / linear, bend * i**2 + slope * i + bend * linear**2)
    done[-1] = 1.0
    return np.asarray(high * (1 - done))


def kl_optimal(own: Floats, low: float, high: float) -> Floats:
    """Spread arctan sigma evenly: Sabour et al. 2404.14507, section 4, where the data is N(0, 1)."""
    return np.append(np.tan(np.linspace(math.atan(high), math.atan(low), len(own))), 0.0)


def beta_quantiles(q: Floats, a: float) -> Floats:
    """Return the q-quantiles [n] of Beta(a, a), by bisection to float64's precision."""
    target = np.minimum(q, 1 - q)  # the density is symmetric: look in the lower half
    low, high = np.zeros_like(target), np.full_like(target, 0.5)
    for _ in range(60):
        middle = (low + high) / 2
        below = _beta_cdf(middle, a) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    high[target == 0] = 0.0
    return np.where(q > target, 1 - high, high)


def _beta_cdf(x: Floats, a: float) -> Floats:
    """Return the regularised incomplete beta function I_x(a, a) for x [n] <= 1/2: DLMF 8.17.8, as a power series."""
    k = np.arange(55)
    factors = np.cumprod(np.append(1.0, (k[1:] - a) / k[1:])) / (a + k)  # (1 - a)_k / k! / (a + k)
    norm = math.exp(math.lgamma(2 * a) - 2 * math.lgamma(a))
    return np.asarray(norm * x**a * (x[:, None] ** k @ factors))


SCHEDULES: dict[str, Schedule] = {
    "normal": normal,
    "simple": normal,  # its own timesteps, see SPACINGS
    "sgm_uniform": normal,
    "karras": karras,
    "exponential": exponential,
    "lu": exponential,  # differs from exponential only in how timesteps are rounded
    "beta": beta,
    "kl_optimal": kl_optimal,
    "linear_quadratic": linear_quadratic,
}

SPACINGS = {"simple": "simple", "sgm_uniform": "uniform"}
"""Schedules that are a choice of timesteps: ComfyUI's, whatever the model's own spacing."""

ALIASES = {"uniform": "normal", "lu_lambdas": "lu", "use_lu_lambdas": "lu", "polyexponential": "exponential"}
ALIASES |= {f"use_{name}_sigmas": name for name in ("karras", "exponential", "beta")}

_NAMES = {compact_name(known): name for known, name in ({name: name for name in SCHEDULES} | ALIASES).items()}


def schedule_name(typed: str) -> str | None:
    """Return the table's name for what somebody typed, or None."""
    return _NAMES.get(compact_name(typed))


def split_schedule(typed: str) -> tuple[str, str | None]:
    """Return a squashed name without the schedule that it ends in, and that schedule."""
    name = compact_name(typed)
    ends = [known for known in _NAMES if name.endswith(known)]
    return (name.removesuffix(max(ends, key=len)), _NAMES[max(ends, key=len)]) if ends else (name, None)


# The shift of a flow's levels: more of the steps where there is more noise, the more so for larger images.


@dataclass(frozen=True, slots=True)
class Shift:
    """s' = k s / (1 + (k - 1) s): Esser et al. 2403.03206, eq. 23."""

    amount: float = 1.0
    """k, or where `dynamic`, unused."""
    dynamic: bool = False
    """k = exp(mu), mu linear in the number of image tokens (FLUX)."""
    tokens: tuple[int, int] = (256, 4096)
    mu: tuple[float, float] = (0.5, 1.15)
    exponential: bool = True
    """Whether k is exp(mu), or mu itself."""
    terminal: float | None = None
    """Stretch the levels so that the last one is this."""

    def __call__(self, s: Floats, image_tokens: int | None = None) -> Floats:
        """Shift levels [n] in 0..1."""
        k = self._factor(image_tokens)
        s = k * s / (1 + (k - 1) * s)
        if self.terminal and s[-1] < 1:  # a single step ends where it begins
            s = 1 - (1 - s) / ((1 - s[-1]) / (1 - self.terminal))
        return s

    def _factor(self, image_tokens: int | None) -> float:
        if not self.dynamic:
            return self.amount
        if image_tokens is None:
            raise Incompatible("image_tokens", None, "must be given: this model's schedule depends on the image's size")
        slope = (self.mu[1] - self.mu[0]) / (self.tokens[1] - self.tokens[0])
        mu = self.mu[0] + slope * (image_tokens - self.tokens[0])
        return math.exp(mu) if self.exponential else mu


# How fast a diffusion destroyed its images: the beta schedules that diffusers knows.


Betas = NDArray[np.float32]


def linear_betas(n: int, start: float, end: float) -> Betas:
    """Ho et al. 2006.11239, section 4."""
    return _linspace(start, end, n)


def scaled_linear_betas(n: int, start: float, end: float) -> Betas:
    """Return betas linear in their square root: Rombach et al. 2112.10752, as in its code."""
    return np.square(_linspace(start**0.5, end**0.5, n))


def cosine_betas(n: int, start: float, end: float) -> Betas:  # noqa: ARG001 - has its own ends
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
    "linear": linear_betas,
    "scaled_linear": scaled_linear_betas,
    "squaredcos_cap_v2": cosine_betas,
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
