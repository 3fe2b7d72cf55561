"""Samplers that call the model twice a step, but once for the last: Heun, DPM2, DPM++ 2S and DPM++ SDE.

In y = x / alpha and rho = sigma / alpha the probability flow is dy/drho = noise. Each step calls at its start and a
second time further on, where the first half of the step led. The state that the step began with is not kept: it is
what the second call is given, less what the first one added; so the second row takes back and adds at once.

DPM2 and DPM++ 2S halt at the geometric mean of rho and the level that they go down to. The ancestral ones go down to
rho'^2 / rho before they add noise, which makes the halt rho' itself.
"""

import numpy as np

from .path import Path, woven
from .table import Floats, Table


def heun(path: Path) -> Table:
    """Heun's rule: Karras et al. 2206.00364, alg. 1 without churn."""
    calls = _twice(path)
    a, b = np.ones(len(calls)), np.zeros((len(calls), 2))
    h = np.diff(path.rho)
    b[0::2, 0] = path.alpha_to * h
    a[0::2] = path.alpha_to / path.alpha
    b[1::2] = path.alpha_to[:-1, None] * h[:-1, None] / 2 * [1, -1]
    return calls.table(calls.noise, a, b)


def flow_heun(path: Path) -> Table:
    """Heun's rule on a flow, dx/dsigma = noise - x0: diffusers' FlowMatchHeunDiscreteScheduler."""
    calls = _twice(path)
    b = np.zeros((len(calls), 2))
    h = path.sigma_to - path.sigma
    b[0::2, 0] = h
    b[1::2] = h[:-1, None] / 2 * [1, -1]
    return calls.table(calls.output, np.ones(len(calls)), b)


def dpm2(path: Path) -> Table:
    """DPM2, the midpoint rule in log rho: k-diffusion's `sample_dpm_2` (Karras et al. 2206.00364, alg. 2)."""
    return _dpm2(path, path.rho[1:])


def dpm2_ancestral(path: Path) -> Table:
    """DPM2 down, then fresh noise: k-diffusion's `sample_dpm_2_ancestral`."""
    return _dpm2(path, _down(path.rho))


def dpmpp_2s_ancestral(path: Path) -> Table:
    """DPM-Solver++(2S), Lu et al. 2211.01095, alg. 1, then noise: k-diffusion's `sample_dpmpp_2s_ancestral`."""
    rho, down = path.rho, _down(path.rho)
    halt = rho[1:-1]
    calls = path.halted(halt)
    first = 1 - np.append(halt, rho[-1]) / rho[:-1]
    a, b = calls.sigma_to / calls.sigma, np.zeros((len(calls), 2))
    a[1::2] = down[:-1] / halt
    b[0::2, 0] = calls.alpha_to[0::2] * first
    b[1::2, 0] = path.alpha_to[:-1] * (1 - down[:-1] / rho[:-2])
    b[1::2, 1] = -calls.alpha[1::2] * a[1::2] * first[:-1]
    return calls.table(calls.denoised, a, b, _up(path, down))


def dpmpp_sde(path: Path) -> Table:
    """DPM-Solver++(2S) on the SDE, halting half way in lambda: the step of k-diffusion's `sample_dpmpp_sde`.

    There both calls of a step share one Brownian motion in sigma, here in the SDE's own time: then what the first call
    drew is part of what the second is given, and its noise is that of the way still to go. The law is the same.
    """
    rho = path.rho
    calls = path.halted(np.sqrt(rho[:-2] * rho[1:-1]))
    shrink = calls.rho[1:] / calls.rho[:-1]  # e^-h of each call's own way
    a, b = calls.sigma_to / calls.sigma * shrink, np.zeros((len(calls), 2))
    b[0::2, 0] = calls.alpha_to[0::2] * (1 - shrink[0::2] ** 2)
    b[1::2, 0] = calls.alpha_to[1::2] * (1 - (rho[1:-1] / rho[:-2]) ** 2)
    b[1::2, 1] = -a[1::2] * b[0:-1:2, 0]
    return calls.table(calls.denoised, a, b, calls.sigma_to * np.sqrt(1 - shrink**2))


def _twice(path: Path) -> Path:
    """Return the path that calls the model a second time where each step but the last lands."""
    return path.visit([i // 2 for i in range(1, 2 * len(path))])


def _dpm2(path: Path, down: Floats) -> Table:
    """Halt at sqrt(rho * down) and go down to `down` [n] with the noise seen there, then up to the next level."""
    rho = path.rho
    halt = np.sqrt(rho[:-2] * down[:-1])
    calls = path.halted(halt)
    first = np.append(halt, rho[-1]) - rho[:-1]
    a, b = calls.alpha_to / calls.alpha, np.zeros((len(calls), 2))
    b[0::2, 0] = calls.alpha_to[0::2] * first
    b[1::2] = path.alpha_to[:-1, None] * np.stack([down[:-1] - rho[:-2], -first[:-1]], axis=1)
    return calls.table(calls.noise, a, b, _up(path, down))


def _down(rho: Floats) -> Floats:
    """Return the levels [n] from which fresh noise leads up to the next ones: rho'^2 / rho."""
    return rho[1:] ** 2 / rho[:-1]


def _up(path: Path, down: Floats) -> Floats:
    """Return the fresh noise [2n - 1] that leads from `down` to the next level, none in the last step."""
    up = np.sqrt(np.maximum(path.rho[1:] ** 2 - down**2, 0))
    return woven(np.zeros(len(path)), path.alpha_to[:-1] * up[:-1])
