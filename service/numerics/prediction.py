"""What a network predicts, and how to read clean latents or noise from it.

With x = alpha * x0 + sigma * noise, each prediction is another linear mixture of x0 and noise:

    epsilon     out = noise
    v           out = alpha * noise - sigma * x0      Salimans & Ho 2202.00512; alpha^2 + sigma^2 = 1
    sample      out = x0
    flow        out = noise - x0                      Lipman et al. 2210.02747; alpha + sigma = 1
"""

from enum import StrEnum

import numpy as np

from .table import Floats


class Prediction(StrEnum):
    """What the network's output is."""

    EPSILON = "epsilon"
    V = "v"
    SAMPLE = "sample"
    FLOW = "flow"


Pair = tuple[Floats, Floats]


def to_denoised(prediction: Prediction, alpha: Floats, sigma: Floats) -> Pair:
    """Return (p, q) [n] with x0 = p * x + q * out."""
    one = np.ones_like(sigma)
    match prediction:
        case Prediction.EPSILON:
            return one / alpha, -sigma / alpha
        case Prediction.V:
            return alpha, -sigma
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
        case Prediction.SAMPLE:
            return one / sigma, -alpha / sigma
        case Prediction.FLOW:
            return one, 1 - sigma
