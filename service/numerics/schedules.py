"""Schedules: how the noise levels of a run are spread between the highest and the lowest.

Levels are k-diffusion's sigma, the ratio of noise to signal (flow models: the noise's share). Every schedule takes

    own         [n] the model's own levels at evenly spaced timesteps, falling
    low, high   the range to cover

and returns [n + 1] float64 levels, falling, the last one 0.
"""

import math
from collections.abc import Callable

import numpy as np

from .choices import plain
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
    quantiles = beta_quantiles(np.linspace(1, 0, len(own)), 0.6)
    return np.append(low + quantiles * (high - low), 0.0)


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
    "karras": karras,
    "exponential": exponential,
    "lu": exponential,  # differs from exponential only in how timesteps are rounded
    "beta": beta,
}

ALIASES = {"simple": "normal", "uniform": "normal", "lu_lambdas": "lu"}


def schedule_name(name: str) -> str | None:
    """Return the table's name for what somebody typed, or None."""
    name = ALIASES.get(plain(name), plain(name))
    return name if name in SCHEDULES else None
