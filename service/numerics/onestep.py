"""Samplers that remember nothing: each step uses the newest `denoised` alone.

x' = alpha' x0 + keep * noise_estimate + std * fresh, with keep^2 + std^2 = sigma'^2: they differ in std only.
In this form DDIM, Euler on k-diffusion's ODE and Euler on a flow are one formula on different paths.
"""

import numpy as np

from .path import Path, woven
from .table import Floats, Table


def ddim(path: Path, *, eta: float = 0.0) -> Table:
    """DDIM: Song, Meng & Ermon 2010.02502, eq. 12 and 16; eta 0 is deterministic, 1 is DDPM."""
    alpha, sigma, alpha_to, sigma_to = path.alpha, path.sigma, path.alpha_to, path.sigma_to
    return _renoised(path, eta * sigma_to * np.sqrt(np.maximum(1 - (sigma_to * alpha / (alpha_to * sigma)) ** 2, 0)))


def tcd(path: Path, *, eta: float = 0.0) -> Table:
    """TCD: Zheng et al. 2402.19159, alg. 4; eta is its gamma.

    diffusers' pipelines pass eta 0 unless the caller says otherwise; 0.3 is the default of its `step()` alone.
    Each step jumps to timestep s = floor((1 - eta) t'), below its goal t'; each but the last is noised up from there.
    """
    assert path.trained is not None, "tcd_layout knows the trained levels"  # noqa: S101
    goals = np.append(path.timesteps[1:], 0.0)
    alpha_s = 1 / np.hypot(1, path.trained[np.floor((1 - eta) * goals).astype(int)])
    std = np.sqrt(np.maximum(1 - (path.alpha_to / alpha_s) ** 2, 0))
    std[-1] = 0.0
    return _renoised(path, std)


def euler(path: Path) -> Table:
    """Euler's rule on the probability flow: Karras et al. 2206.00364, alg. 2 without churn."""
    return ddim(path)


def euler_ancestral(path: Path) -> Table:
    """Euler down to sigma_down, then fresh noise back up to the next sigma: k-diffusion's `sample_euler_ancestral`."""
    return ddim(path, eta=1.0)


def flow_ancestral(path: Path) -> Table:
    """Euler down to sigma_down = sigma'^2 / sigma on a flow, then fresh noise: ancestral sampling of rectified flows.

    As ComfyUI's `sample_euler_ancestral_RF` and diffusers' LTXEulerAncestralRFScheduler with eta 1.
    """
    down = path.sigma_to**2 / path.sigma
    keep = down * path.alpha_to / (1 - down)
    return _renoised(path, np.sqrt(np.maximum(path.sigma_to**2 - keep**2, 0)))


def ddpm(path: Path) -> Table:
    """DDPM with the smaller posterior variance: Ho, Jain & Abbeel 2006.11239, eq. 7."""
    return ddim(path, eta=1.0)


def lcm(path: Path, *, timestep_scaling: float = 10.0) -> Table:
    """Multistep consistency sampling: Luo et al. 2310.04378, alg. 3; every step jumps to x0 and noises it again.

    The skip connection c_skip of the consistency function has sigma_data 0.5 and time timestep * timestep_scaling.
    """
    skip = 0.25 / ((path.timesteps * timestep_scaling) ** 2 + 0.25)
    return path.table(path.denoised, path.alpha_to * skip, path.alpha_to * np.sqrt(1 - skip), path.sigma_to)


def _renoised(path: Path, std: Floats) -> Table:
    """Join the columns of a sampler that adds fresh noise of deviation `std` [n] in each step."""
    a = np.sqrt(np.maximum(path.sigma_to**2 - std**2, 0)) / path.sigma
    return path.table(path.denoised, a, path.alpha_to - a * path.alpha, std)


# Samplers that call the model twice a step, but once for the last: Heun, DPM2, DPM++ 2S and DPM++ SDE.


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
