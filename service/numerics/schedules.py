"""Schedules: how the noise levels of a run are spread between the highest and the lowest.

Levels are k-diffusion's sigma, the ratio of noise to signal (flow models: the noise's share). Every schedule takes

    own         [n] the model's own levels at evenly spaced timesteps, falling
    low, high   the range to cover

and returns [n + 1] float64 levels, falling, the last one 0.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .choices import squashed
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

_NAMES = {squashed(known): name for known, name in ({name: name for name in SCHEDULES} | ALIASES).items()}


def schedule_name(typed: str) -> str | None:
    """Return the table's name for what somebody typed, or None."""
    return _NAMES.get(squashed(typed))


def split_schedule(typed: str) -> tuple[str, str | None]:
    """Return a squashed name without the schedule that it ends in, and that schedule."""
    name = squashed(typed)
    ends = [known for known in _NAMES if name.endswith(known)]
    return (name.removesuffix(max(ends, key=len)), _NAMES[max(ends, key=len)]) if ends else (name, None)
