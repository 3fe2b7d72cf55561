"""Noise schedules: the levels of a run, the shift of a flow's levels, and the betas of training.

Levels are k-diffusion's sigma, the ratio of noise to signal (flow models: the share of noise). Every schedule takes

    model_levels   [n] the model's own levels at evenly spaced timesteps, falling
    low, high      the range to cover

and returns [n + 1] float64 levels, falling, the last one 0.

Betas say how much noise each timestep of training added. Published models are sampled with float32 betas, so that
rounding is part of the image: betas are reproduced bit for bit as torch rounds them. All later arithmetic is float64.
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


def normal(model_levels: Floats, low: float, high: float) -> Floats:  # noqa: ARG001 - ignores the range
    """Return the model's own levels at evenly spaced timesteps."""
    return np.append(model_levels, 0.0)


def karras(model_levels: Floats, low: float, high: float) -> Floats:
    """Space sigma^(1/7) evenly: Karras et al. 2206.00364, eq. 5."""
    rho = 7.0
    return np.append(np.linspace(high ** (1 / rho), low ** (1 / rho), len(model_levels)) ** rho, 0.0)


def exponential(model_levels: Floats, low: float, high: float) -> Floats:
    """Space log sigma, and so lambda, evenly: Lu et al. 2206.00927, section 3."""
    return np.append(np.exp(np.linspace(math.log(high), math.log(low), len(model_levels))), 0.0)


def beta(model_levels: Floats, low: float, high: float) -> Floats:
    """Space sigma by the quantiles of Beta(0.6, 0.6), dense at both ends: Lee et al. 2407.12173."""
    return np.append(low + _beta_shares(len(model_levels)) * (high - low), 0.0)


@lru_cache(maxsize=64)
def _beta_shares(n: int) -> Floats:
    """Return n quantiles of Beta(0.6, 0.6), falling from 1 to 0; cached, because they take 1 to 2 ms."""
    shares = beta_quantiles(np.linspace(1, 0, n), 0.6)
    shares.setflags(write=False)
    return shares


def linear_quadratic(model_levels: Floats, low: float, high: float) -> Floats:  # noqa: ARG001 - always ends at 0
    """Fall linearly to 0.975 in half of the steps, then along a parabola: Mochi's, as in diffusers and ComfyUI."""
    n, threshold = len(model_levels), 0.025
    if n == 1:
        return np.array([high, 0.0])
    linear = n // 2
    rest = n - linear
    surplus = linear - threshold * n
    curvature = surplus / (linear * rest**2)
    slope = threshold / linear - 2 * surplus / rest**2
    i = np.arange(n + 1)
    done = np.where(i < linear, threshold * i / linear, curvature * i**2 + slope * i + curvature * linear**2)
    done[-1] = 1.0
    return np.asarray(high * (1 - done))


def kl_optimal(model_levels: Floats, low: float, high: float) -> Floats:
    """Space arctan sigma evenly: Sabour et al. 2404.14507, section 4, for data N(0, 1)."""
    return np.append(np.tan(np.linspace(math.atan(high), math.atan(low), len(model_levels))), 0.0)


def beta_quantiles(q: Floats, a: float) -> Floats:
    """Return the q-quantiles [n] of Beta(a, a), by bisection to float64 precision."""
    target = np.minimum(q, 1 - q)  # the density is symmetric: search the lower half
    low, high = np.zeros_like(target), np.full_like(target, 0.5)
    for _ in range(60):
        middle = (low + high) / 2
        below = _beta_cdf(middle, a) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    high[target == 0] = 0.0
    return np.where(q > target, 1 - high, high)


def _beta_cdf(x: Floats, a: float) -> Floats:
    """Return the regularized incomplete beta function I_x(a, a) for x [n] <= 1/2, by the power series DLMF 8.17.8."""
    k = np.arange(55)
    factors = np.cumprod(np.append(1.0, (k[1:] - a) / k[1:])) / (a + k)  # (1 - a)_k / k! / (a + k)
    norm = math.exp(math.lgamma(2 * a) - 2 * math.lgamma(a))
    return np.asarray(norm * x**a * (x[:, None] ** k @ factors))


SCHEDULES: dict[str, Schedule] = {
    "normal": normal,
    "simple": normal,  # with its own timesteps, see SPACINGS
    "sgm_uniform": normal,
    "karras": karras,
    "exponential": exponential,
    "lu": exponential,  # differs from exponential only in how timesteps are rounded
    "beta": beta,
    "kl_optimal": kl_optimal,
    "linear_quadratic": linear_quadratic,
}

SPACINGS = {"simple": "simple", "sgm_uniform": "uniform"}
"""ComfyUI's schedules that choose the timesteps and override the model's own spacing."""

ALIASES = {"uniform": "normal", "lu_lambdas": "lu", "use_lu_lambdas": "lu", "polyexponential": "exponential"}
ALIASES |= {f"use_{name}_sigmas": name for name in ("karras", "exponential", "beta")}

_NAMES = {compact_name(known): name for known, name in ({name: name for name in SCHEDULES} | ALIASES).items()}


def schedule_name(typed: str) -> str | None:
    """Return the name in `SCHEDULES` for a name as typed, or None."""
    return _NAMES.get(compact_name(typed))


def split_schedule(typed: str) -> tuple[str, str | None]:
    """Split a compact name into the name before its trailing schedule, and that schedule (None without one)."""
    name = compact_name(typed)
    ends = [known for known in _NAMES if name.endswith(known)]
    return (name.removesuffix(max(ends, key=len)), _NAMES[max(ends, key=len)]) if ends else (name, None)


@dataclass(frozen=True, slots=True)
class Shift:
    """The shift of a flow's levels, s' = k s / (1 + (k - 1) s): Esser et al. 2403.03206, eq. 23.

    It moves steps to higher noise; larger images need a larger k.
    """

    factor: float = 1.0
    """k; not used if `dynamic`."""
    dynamic: bool = False
    """Compute k = exp(mu), with mu linear in the number of image tokens (FLUX)."""
    tokens: tuple[int, int] = (256, 4096)
    mu: tuple[float, float] = (0.5, 1.15)
    exponential: bool = True
    """Whether k is exp(mu) or mu itself."""
    terminal: float | None = None
    """Stretch the levels so that the last one has this value."""
    by_steps: bool = False
    """Compute k = exp(mu) with FLUX.2's mu, from the number of image tokens and the number of steps."""

    def __call__(self, s: Floats, image_tokens: int | None = None, steps: int = 1) -> Floats:
        """Shift levels [n] in 0..1 of a run of `steps` steps."""
        k = self._factor_for(image_tokens, steps)
        s = k * s / (1 + (k - 1) * s)
        if self.terminal and s[-1] < 1:  # a single level at 1 can't be stretched
            s = 1 - (1 - s) / ((1 - s[-1]) / (1 - self.terminal))
        return s

    def _factor_for(self, image_tokens: int | None, steps: int) -> float:
        if not self.dynamic:
            return self.factor
        if image_tokens is None:
            raise Incompatible("image_tokens", None, "must be given: this model's schedule depends on the image size")
        if self.by_steps:
            return math.exp(_empirical_mu(image_tokens, steps))
        slope = (self.mu[1] - self.mu[0]) / (self.tokens[1] - self.tokens[0])
        mu = self.mu[0] + slope * (image_tokens - self.tokens[0])
        return math.exp(mu) if self.exponential else mu


def _empirical_mu(image_tokens: int, steps: int) -> float:
    """Return FLUX.2's mu: linear in the tokens, and up to 4,300 tokens in the steps between 10 and 200 too."""
    many = 0.00016927 * image_tokens + 0.45666666  # at 200 steps
    if image_tokens > 4300:
        return many
    few = 8.73809524e-05 * image_tokens + 1.89833333  # at 10 steps
    return many + (many - few) / 190 * (steps - 200)


Betas = NDArray[np.float32]


def linear_betas(n: int, start: float, end: float) -> Betas:
    """Return betas that rise linearly: Ho et al. 2006.11239, section 4."""
    return _linspace(start, end, n)


def scaled_linear_betas(n: int, start: float, end: float) -> Betas:
    """Return betas whose square roots rise linearly: Rombach et al. 2112.10752, as in its code."""
    return np.square(_linspace(start**0.5, end**0.5, n))


def cosine_betas(n: int, start: float, end: float) -> Betas:  # noqa: ARG001 - fixed ends
    """Return betas of the cosine schedule: Nichol & Dhariwal 2102.09672, eq. 17."""
    bar = np.cos((np.arange(n + 1) / n + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.asarray(np.minimum(1 - bar[1:] / bar[:-1], 0.999), np.float32)


def _linspace(start: float, end: float, n: int) -> Betas:
    """Return torch.linspace in float32: from both ends to the middle, with a rounded step and fused multiply-add."""
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
    """Return the running product as torch computes it: accumulated in float64, rounded to float32."""
    return np.cumprod(factors.astype(np.float64)).astype(np.float32)


def _zero_terminal_snr(cumprod: Betas) -> Betas:
    """Shift and scale sqrt(cumprod) so that it keeps its first value and ends in 0: Lin et al. 2305.08891, alg. 1."""
    root = np.sqrt(cumprod)
    bar = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
    betas = 1 - np.append(bar[:1], bar[1:] / bar[:-1])
    return _cumprod(1 - betas)
