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
    quantiles = np.array([beta_quantile(q, 0.6) for q in np.linspace(1, 0, len(own))])
    return np.append(low + quantiles * (high - low), 0.0)


def beta_quantile(q: float, a: float) -> float:
    """Return the q-quantile of Beta(a, a) by bisection, to float64's precision."""
    if q > 0.5:  # the density is symmetric
        return 1 - beta_quantile(1 - q, a)
    low, high = 0.0, 0.5
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _beta_cdf(middle, a) < q else (low, middle)
    return high if q else 0.0


def _beta_cdf(x: float, a: float) -> float:
    """Return the regularised incomplete beta function I_x(a, a) for x <= 1/2: DLMF 8.17.8, a power series."""
    norm = math.exp(math.lgamma(2 * a) - 2 * math.lgamma(a))
    total, factor = 0.0, 1.0  # factor = (1 - a)_k / k! x^k
    for k in range(60):
        total += factor / (a + k)
        factor *= (k + 1 - a) / (k + 1) * x
    return float(norm * x**a * total)


SCHEDULES: dict[str, Schedule] = {
    "normal": normal,
    "karras": karras,
    "exponential": exponential,
    "lu": exponential,  # differs from exponential only in how timesteps are rounded
    "beta": beta,
}

ALIASES = {"simple": "normal", "uniform": "normal", "default": "normal", "lu_lambdas": "lu"}


def schedule_name(name: str) -> str | None:
    """Return the table's name for what somebody typed, or None."""
    name = ALIASES.get(plain(name), plain(name))
    return name if name in SCHEDULES else None
