"""Data N(MU, S^2), whose exact denoiser is linear.

E[x0 | x] = MU + alpha S^2 / (alpha^2 S^2 + sigma^2) (x - alpha MU), and along the probability flow
(x - alpha MU) / sqrt(alpha^2 S^2 + sigma^2) is constant. Because everything is linear and Gaussian, the mean and
variance of stochastic samplers are computed exactly: the limit of infinitely many seeds.
"""

import numpy as np
import pytest

from tintype.service.numerics import Prediction, Table
from tintype.service.numerics.path import Path
from tintype.service.numerics.table import Floats

MU, S = 0.3, 0.7


def posterior_mean(x: Floats, alpha: float, sigma: float, one: Floats) -> Floats:
    """Return the posterior mean of x0; `one` represents the constant 1 in the space of x."""
    return MU * one + alpha * S**2 / (alpha**2 * S**2 + sigma**2) * (x - alpha * MU * one)


def network(prediction: Prediction, x: Floats, alpha: float, sigma: float, one: Floats) -> Floats:
    """Return the output of a perfectly trained network."""
    x0 = posterior_mean(x, alpha, sigma, one)
    noise = (x - alpha * x0) / sigma
    match prediction:
        case Prediction.EPSILON:
            return noise
        case Prediction.V:
            return alpha * noise - sigma * x0
        case Prediction.EDM:
            return sigma * x0 - alpha * noise
        case Prediction.SAMPLE:
            return x0
        case Prediction.FLOW:
            return noise - x0


def run(table: Table, prediction: Prediction, x: Floats, one: Floats, noises: Floats) -> Floats:
    """Return the end of a run along a table with the exact denoiser, in float64."""
    history: list[Floats] = []
    for i in range(len(table)):
        out = network(prediction, x, table.alphas[i], table.sigmas[i], one)
        assert table.p0[i] * x + table.q0[i] * out == pytest.approx(
            posterior_mean(x, table.alphas[i], table.sigmas[i], one), abs=1e-9
        )
        history.insert(0, table.p[i] * x + table.q[i] * out)
        x = table.a[i] * x + table.d[i] * noises[i]
        x += sum(weight * d for weight, d in zip(table.b[i], history, strict=False))
    return x


def smooth_path(n: int, prediction: Prediction = Prediction.EPSILON) -> Path:
    """Return the path of n even steps in lambda, away from the singular ends."""
    lambdas = np.linspace(-1.5, 2.5, n + 1)
    alphas, sigmas = 1 / np.sqrt(1 + np.exp(-2 * lambdas)), 1 / np.sqrt(1 + np.exp(2 * lambdas))
    if prediction is Prediction.FLOW:
        alphas, sigmas = alphas / (alphas + sigmas), sigmas / (alphas + sigmas)
    return Path.through(np.linspace(999, 0, n), alphas, sigmas, prediction)
