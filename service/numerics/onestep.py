"""One-step samplers: a step uses no outputs of earlier steps, and calls the model once or twice.

One call: x' = alpha' x0 + keep * predicted_noise + std * fresh_noise with keep^2 + std^2 = sigma'^2. These samplers
differ only in std. DDIM, Euler on k-diffusion's ODE and Euler on a flow are the same formula on different paths.

Two calls (Heun, DPM2, DPM++ 2S, DPM++ SDE): in y = x / alpha and rho = sigma / alpha the probability flow is dy/drho =
noise. Each step but the last calls the model at its start and again at a second point that the first call leads to. The
x at the start of the step is not stored: the second row recovers it by subtracting what the first row added.
DPM2 and DPM++ 2S take the geometric mean of rho and the level that they go down to as the second point. Their ancestral
forms go down to rho'^2 / rho before they add noise, so that their second point is rho' itself.
"""

import numpy as np

from .path import Path, interleave
from .table import Floats, Table


def ddim(path: Path, *, eta: float = 0.0) -> Table:
    """DDIM: Song, Meng & Ermon 2010.02502, eq. 12 and 16; eta 0 is deterministic, 1 is DDPM."""
    alpha, sigma, alpha_to, sigma_to = path.alpha, path.sigma, path.alpha_to, path.sigma_to
    return _with_noise(path, eta * sigma_to * np.sqrt(np.maximum(1 - (sigma_to * alpha / (alpha_to * sigma)) ** 2, 0)))


def tcd(path: Path, *, eta: float = 0.0) -> Table:
    """TCD: Zheng et al. 2402.19159, alg. 4; eta is its gamma.

    Each step jumps to timestep s = floor((1 - eta) t'), below its goal t'. Every step but the last then adds the noise
    that leads from s up to t'. diffusers' pipelines pass eta 0 by default; 0.3 is the default of its `step()` alone.
    """
    assert path.trained_levels is not None, "tcd_layout sets the trained levels"  # noqa: S101
    goals = np.append(path.timesteps[1:], 0.0)
    alpha_s = 1 / np.hypot(1, path.trained_levels[np.floor((1 - eta) * goals).astype(int)])
    std = np.sqrt(np.maximum(1 - (path.alpha_to / alpha_s) ** 2, 0))
    std[-1] = 0.0
    return _with_noise(path, std)


def euler(path: Path) -> Table:
    """Euler's rule on the probability flow: Karras et al. 2206.00364, alg. 2 without churn."""
    return ddim(path)


def euler_ancestral(path: Path) -> Table:
    """Euler down to sigma_down, then fresh noise up to the next sigma: k-diffusion's `sample_euler_ancestral`."""
    return ddim(path, eta=1.0)


def flow_ancestral(path: Path) -> Table:
    """Ancestral sampling of rectified flows: Euler down to sigma_down = sigma'^2 / sigma, then fresh noise.

    As ComfyUI's `sample_euler_ancestral_RF` and diffusers' LTXEulerAncestralRFScheduler with eta 1.
    """
    down = path.sigma_to**2 / path.sigma
    keep = down * path.alpha_to / (1 - down)
    return _with_noise(path, np.sqrt(np.maximum(path.sigma_to**2 - keep**2, 0)))


def ddpm(path: Path) -> Table:
    """DDPM with the smaller posterior variance: Ho, Jain & Abbeel 2006.11239, eq. 7."""
    return ddim(path, eta=1.0)


def lcm(path: Path, *, timestep_scaling: float = 10.0) -> Table:
    """Multistep consistency sampling: Luo et al. 2310.04378, alg. 3.

    Every step jumps to x0 and adds noise up to the next level. The skip connection c_skip of the consistency function
    has sigma_data 0.5 and time timestep * timestep_scaling.
    """
    skip = 0.25 / ((path.timesteps * timestep_scaling) ** 2 + 0.25)
    return path.table(path.denoised, path.alpha_to * skip, path.alpha_to * np.sqrt(1 - skip), path.sigma_to)


def _with_noise(path: Path, std: Floats) -> Table:
    """Return the table of a one-call sampler that adds fresh noise of standard deviation `std` [n]."""
    a = np.sqrt(np.maximum(path.sigma_to**2 - std**2, 0)) / path.sigma
    return path.table(path.denoised, a, path.alpha_to - a * path.alpha, std)


def heun(path: Path) -> Table:
    """Heun's rule: Karras et al. 2206.00364, alg. 1 without churn."""
    calls = _two_calls(path)
    a, b = np.ones(len(calls)), np.zeros((len(calls), 2))
    h = np.diff(path.rho)
    b[0::2, 0] = path.alpha_to * h
    a[0::2] = path.alpha_to / path.alpha
    b[1::2] = path.alpha_to[:-1, None] * h[:-1, None] / 2 * [1, -1]
    return calls.table(calls.noise, a, b)


def flow_heun(path: Path) -> Table:
    """Heun's rule on a flow, dx/dsigma = noise - x0: diffusers' FlowMatchHeunDiscreteScheduler."""
    calls = _two_calls(path)
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
    return _dpm2(path, _rho_down(path.rho))


def dpmpp_2s_ancestral(path: Path) -> Table:
    """DPM-Solver++(2S), Lu et al. 2211.01095, alg. 1, then noise: k-diffusion's `sample_dpmpp_2s_ancestral`."""
    rho, down = path.rho, _rho_down(path.rho)
    midpoints = rho[1:-1]
    calls = path.with_midpoints(midpoints)
    first = 1 - np.append(midpoints, rho[-1]) / rho[:-1]
    a, b = calls.sigma_to / calls.sigma, np.zeros((len(calls), 2))
    a[1::2] = down[:-1] / midpoints
    b[0::2, 0] = calls.alpha_to[0::2] * first
    b[1::2, 0] = path.alpha_to[:-1] * (1 - down[:-1] / rho[:-2])
    b[1::2, 1] = -calls.alpha[1::2] * a[1::2] * first[:-1]
    return calls.table(calls.denoised, a, b, _ancestral_noise(path, down))


def dpmpp_sde(path: Path) -> Table:
    """DPM-Solver++(2S) on the SDE, with a midpoint in lambda: the step of k-diffusion's `sample_dpmpp_sde`.

    In k-diffusion both calls of a step share one Brownian motion in sigma. Here the motion runs in the SDE's own time:
    the noise of the first call is part of the second call's input, and the second call draws the noise of the remaining
    interval. The distribution is the same; the image of a given seed is not.
    """
    rho = path.rho
    calls = path.with_midpoints(np.sqrt(rho[:-2] * rho[1:-1]))
    shrink = calls.rho[1:] / calls.rho[:-1]  # e^-h of each call's own interval
    a, b = calls.sigma_to / calls.sigma * shrink, np.zeros((len(calls), 2))
    b[0::2, 0] = calls.alpha_to[0::2] * (1 - shrink[0::2] ** 2)
    b[1::2, 0] = calls.alpha_to[1::2] * (1 - (rho[1:-1] / rho[:-2]) ** 2)
    b[1::2, 1] = -a[1::2] * b[0:-1:2, 0]
    return calls.table(calls.denoised, a, b, calls.sigma_to * np.sqrt(1 - shrink**2))


def _two_calls(path: Path) -> Path:
    """Return the path that calls the model a second time where each step but the last lands."""
    return path.select([i // 2 for i in range(1, 2 * len(path))])


def _dpm2(path: Path, down: Floats) -> Table:
    """Return the table of DPM2 that goes down to `down` [n] and adds noise up to the next level.

    The second point of each step is sqrt(rho * down).
    """
    rho = path.rho
    midpoints = np.sqrt(rho[:-2] * down[:-1])
    calls = path.with_midpoints(midpoints)
    first = np.append(midpoints, rho[-1]) - rho[:-1]
    a, b = calls.alpha_to / calls.alpha, np.zeros((len(calls), 2))
    b[0::2, 0] = calls.alpha_to[0::2] * first
    b[1::2] = path.alpha_to[:-1, None] * np.stack([down[:-1] - rho[:-2], -first[:-1]], axis=1)
    return calls.table(calls.noise, a, b, _ancestral_noise(path, down))


def _rho_down(rho: Floats) -> Floats:
    """Return the levels [n] from which fresh noise leads up to the next ones: rho'^2 / rho."""
    return rho[1:] ** 2 / rho[:-1]


def _ancestral_noise(path: Path, down: Floats) -> Floats:
    """Return the standard deviations [2n - 1] of the noise that leads from `down` to the next level; 0 at the end."""
    up = np.sqrt(np.maximum(path.rho[1:] ** 2 - down**2, 0))
    return interleave(np.zeros(len(path)), path.alpha_to[:-1] * up[:-1])
