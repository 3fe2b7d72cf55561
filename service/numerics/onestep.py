"""Samplers that remember nothing: each step uses the newest `denoised` alone.

x' = alpha' x0 + keep * noise_estimate + std * fresh, with keep^2 + std^2 = sigma'^2: they differ in std only.
In this form DDIM, Euler on k-diffusion's ODE and Euler on a flow are one formula on different paths.
"""

import numpy as np

from .path import Path
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
