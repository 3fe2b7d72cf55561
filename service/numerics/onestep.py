"""Samplers that remember nothing: each step uses the newest `denoised` alone.

x' = alpha' x0 + keep * noise_estimate + std * fresh, with keep^2 + std^2 = sigma'^2: they differ in std only.
In this form DDIM, Euler on k-diffusion's ODE and Euler on a flow are one formula on different paths.
"""

import numpy as np

from .path import Path
from .table import Table


def ddim(path: Path, *, eta: float = 0.0) -> Table:
    """DDIM: Song, Meng & Ermon 2010.02502, eq. 12 and 16; eta 0 is deterministic, 1 is DDPM."""
    alpha, sigma, alpha_to, sigma_to = path.alpha, path.sigma, path.alpha_to, path.sigma_to
    std = eta * sigma_to * np.sqrt(1 - (sigma_to * alpha / (alpha_to * sigma)) ** 2) if eta else 0 * sigma
    a = np.sqrt(sigma_to**2 - std**2) / sigma
    return path.table(path.denoised, a, alpha_to - a * alpha, std)


def euler(path: Path) -> Table:
    """Euler's rule on the probability flow: Karras et al. 2206.00364, alg. 2 without churn."""
    return ddim(path)


def euler_ancestral(path: Path) -> Table:
    """Euler down to sigma_down, then fresh noise back up to the next sigma: k-diffusion's `sample_euler_ancestral`."""
    return ddim(path, eta=1.0)


def ddpm(path: Path) -> Table:
    """DDPM with the smaller posterior variance: Ho, Jain & Abbeel 2006.11239, eq. 7."""
    return ddim(path, eta=1.0)


def lcm(path: Path, *, timestep_scaling: float = 10.0) -> Table:
    """Multistep consistency sampling: Luo et al. 2310.04378, alg. 3; every step jumps to x0 and noises it again.

    The skip connection c_skip of the consistency function has sigma_data 0.5 and time timestep * timestep_scaling.
    """
    skip = 0.25 / ((path.timesteps * timestep_scaling) ** 2 + 0.25)
    return path.table(path.denoised, path.alpha_to * skip, path.alpha_to * np.sqrt(1 - skip), path.sigma_to)


def heun(path: Path) -> Table:
    """Heun's rule, two calls a step but one for the last: Karras et al. 2206.00364, alg. 1 without churn.

    In y = x / alpha and rho = sigma / alpha the ODE is dy/drho = noise, which is what the history holds.
    The second call of a step takes the first one's half back, and lands on the same point.
    """
    rho, steps = path.rho, len(path)
    calls = path.visit([i // 2 for i in range(1, 2 * steps)])
    a, b = np.ones(len(calls)), np.zeros((len(calls), 2))
    h = np.diff(rho)
    b[0::2, 0] = path.alpha_to * h
    a[0::2] = path.alpha_to / path.alpha
    b[1::2] = path.alpha_to[:-1, None] * h[:-1, None] / 2 * [1, -1]
    return calls.table(calls.noise, a, b)
