"""The prediction of a network, and the path of points at which a run calls it.

With x = alpha * x0 + sigma * noise, each prediction is another linear mixture of x0 and noise:

    epsilon     out = noise
    v           out = alpha * noise - sigma * x0      Salimans & Ho 2202.00512; alpha^2 + sigma^2 = 1
    edm         out = sigma * x0 - alpha * noise      Karras et al. 2206.00364; -v of data of unit variance
    sample      out = x0
    flow        out = noise - x0                      Lipman et al. 2210.02747; alpha + sigma = 1

A path holds the points of the model calls and the point at which each step lands. A sampler knows nothing else. It
turns the path into the columns a, b and d of a table, and chooses the quantity D of its history: `denoised` (x0),
`noise`, or `output` (the network's output unchanged).
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .table import Floats, Table

SHORT = 15
"""A run of fewer steps ends in lower orders, as in the code of DPM-Solver++'s authors."""


class Prediction(StrEnum):
    """The quantity that the network predicts."""

    EPSILON = "epsilon"
    V = "v"
    EDM = "edm"
    SAMPLE = "sample"
    FLOW = "flow"


class Levels(StrEnum):
    """How a model's noise levels and its time are related."""

    TRAINED = "trained"
    """A level for each trained timestep; for a flow, the timestep is a share of noise."""
    EDM = "edm"
    """Time is log(level) / 4: Karras et al. 2206.00364, table 1."""
    TRIGFLOW = "trigflow"
    """Time is the angle atan(level): Lu & Song 2410.11081, section 3."""


Pair = tuple[Floats, Floats]


def to_denoised(prediction: Prediction, alpha: Floats, sigma: Floats) -> Pair:
    """Return (p, q) [n] with x0 = p * x + q * out."""
    one = np.ones_like(sigma)
    match prediction:
        case Prediction.EPSILON:
            return one / alpha, -sigma / alpha
        case Prediction.V:
            return alpha, -sigma
        case Prediction.EDM:
            return alpha, sigma
        case Prediction.SAMPLE:
            return 0 * one, one
        case Prediction.FLOW:
            return one, -sigma


def to_noise(prediction: Prediction, alpha: Floats, sigma: Floats) -> Pair:
    """Return (p, q) [n] with noise = p * x + q * out."""
    one = np.ones_like(sigma)
    match prediction:
        case Prediction.EPSILON:
            return 0 * one, one
        case Prediction.V:
            return sigma, alpha
        case Prediction.EDM:
            return sigma, -alpha
        case Prediction.SAMPLE:
            return one / sigma, -alpha / sigma
        case Prediction.FLOW:
            return one, 1 - sigma


@dataclass(frozen=True, eq=False, slots=True)
class Path:
    """The n points of a run in order of falling noise, float64 [n]; x = alpha * x0 + sigma * noise at each."""

    timesteps: Floats
    alpha: Floats
    sigma: Floats
    alpha_to: Floats
    sigma_to: Floats
    """Where step i lands: usually at point i + 1; DDIM's rounding in diffusers lands elsewhere."""
    prediction: Prediction
    init: float = 1.0
    skipped: int = 0
    """Steps left out before the first point (image-to-image)."""
    trained_levels: Floats | None = None
    """[T] sigma / alpha at each trained timestep, rising; None where only the points are known."""

    @classmethod
    def through(
        cls, timesteps: Floats, alphas: Floats, sigmas: Floats, prediction: Prediction, init: float = 1.0
    ) -> Self:
        """Return the path on which each step lands on the next point; alphas and sigmas are [n + 1]."""
        return cls(timesteps, alphas[:-1], sigmas[:-1], alphas[1:], sigmas[1:], prediction, init)

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def rho(self) -> Floats:
        """[n + 1] noise to signal, sigma / alpha: what k-diffusion calls sigma."""
        return np.append(self.sigma / self.alpha, self.sigma_to[-1] / self.alpha_to[-1])

    @property
    def lambdas(self) -> Floats:
        """[n + 1] log(alpha / sigma), half the log of the signal-to-noise ratio; +inf where no noise is left."""
        with np.errstate(divide="ignore"):
            return -np.log(self.rho)

    @property
    def denoised(self) -> Pair:
        """(p, q) with x0 = p * x + q * out at each point."""
        return to_denoised(self.prediction, self.alpha, self.sigma)

    @property
    def noise(self) -> Pair:
        """(p, q) with noise = p * x + q * out at each point."""
        return to_noise(self.prediction, self.alpha, self.sigma)

    @property
    def output(self) -> Pair:
        """(p, q) that keep the network's output unchanged."""
        return np.zeros(len(self)), np.ones(len(self))

    def orders(self, order: int, *, lower_order_final: bool) -> list[int]:
        """Return the order [n] of each multistep step: rising at the start and, in short runs, falling at the end."""
        n = len(self)
        short = lower_order_final and n + self.skipped < SHORT
        return [min(order, i + 1, n - i if short else order) for i in range(n)]

    def select(self, points: list[int]) -> Self:
        """Return the path that calls the model at these points, in this order."""
        return self._select(np.array(points), self.skipped)

    def without_first(self, steps: int) -> Self:
        """Return the path without its first `steps` points."""
        return self._select(np.arange(steps, len(self)), self.skipped + steps)

    def with_midpoints(self, rho: Floats) -> Self:
        """Return the path of 2n - 1 calls with one point inside each step but the last, at noise to signal rho [n - 1].

        Only for diffusions, where alpha^2 + sigma^2 = 1.
        """
        alpha = 1 / np.hypot(1, rho)
        return replace(
            self,
            timesteps=interleave(self.timesteps, self._timesteps_at(rho)),
            alpha=interleave(self.alpha, alpha),
            sigma=interleave(self.sigma, rho * alpha),
            alpha_to=interleave(np.append(alpha, self.alpha_to[-1]), self.alpha_to[:-1]),
            sigma_to=interleave(np.append(rho * alpha, self.sigma_to[-1]), self.sigma_to[:-1]),
        )

    def _timesteps_at(self, rho: Floats) -> Floats:
        """Return the fractional timesteps of levels, interpolated between trained levels, otherwise between points."""
        if self.trained_levels is not None:
            return timesteps_of(rho, self.trained_levels)
        return np.interp(np.log(rho), np.log(self.rho[-2::-1]), self.timesteps[::-1])

    def _select(self, i: NDArray[np.intp], skipped: int) -> Self:
        columns = ("timesteps", "alpha", "sigma", "alpha_to", "sigma_to")
        return replace(self, skipped=skipped, **{name: getattr(self, name)[i] for name in columns})

    def table(self, history: Pair, a: Floats, b: Floats, d: Floats | None = None) -> Table:
        """Join the sampler's columns with the path's own; b is [n] or [n, K], and without d no noise is drawn."""
        return Table(
            timesteps=self.timesteps.copy(),
            p=history[0],
            q=history[1],
            a=a,
            b=b if b.ndim == 2 else b[:, None],
            d=np.zeros(len(self)) if d is None else d,
            p0=self.denoised[0],
            q0=self.denoised[1],
            alphas=np.append(self.alpha, self.alpha_to[-1]),
            sigmas=np.append(self.sigma, self.sigma_to[-1]),
            init=self.init,
        )


def timesteps_of(levels: Floats, trained_levels: Floats) -> Floats:
    """Return the fractional timesteps of levels, interpolated in log sigma between trained levels [T], as in diffusers.

    The logarithms of the trained levels are float32: where a timestep is truncated to an integer, their rounding
    decides the result.
    """
    logs, wanted = np.log(trained_levels.astype(np.float32)), np.log(levels)
    i = np.clip(np.searchsorted(logs, wanted, side="right") - 1, 0, max(len(logs) - 2, 0))
    after = np.minimum(i + 1, len(logs) - 1)
    w = np.clip((logs[i] - wanted) / np.minimum(logs[i] - logs[after], -1e-30), 0, 1)
    return np.asarray((1 - w) * i + w * after)


def interleave(points: Floats, between: Floats) -> Floats:
    """Return points [n] and the values between them [n - 1] as one array [2n - 1]."""
    both = np.empty(len(points) + len(between))
    both[0::2], both[1::2] = points, between
    return both
