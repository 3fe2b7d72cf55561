"""Layouts: the points at which a run of n steps calls the model, as each scheduler class of diffusers chooses them.

A sampler works on any path of falling noise. The path of a run is a convention: diffusers has four ways to choose
timesteps, and an image equals that of diffusers only if the timesteps are equal too.
"""

from dataclasses import dataclass, replace

import numpy as np

from .choices import Incompatible, OutOfRange
from .diffusion import Diffusion
from .path import Path, timesteps_of
from .schedules import SCHEDULES, SPACINGS, Shift, normal
from .table import Floats

TINY_ALPHA_CUMPROD = 2.0**-24
"""Replaces a signal of zero where levels are ratios; diffusers' number."""

MAX_FLOW_SIGMA = 1 - 1e-6
"""Replaces the flow level 1 where lambda must be finite; diffusers' number."""


MAX_ANGLE, SECOND_ANGLE = 1.57080, 1.3
"""Angles at which SANA-Sprint's first step, and the second of two steps, begin; diffusers' numbers."""


@dataclass(frozen=True, slots=True)
class LayoutOptions:
    """The choices of a run that decide its path."""

    steps: int
    schedule: str = "normal"
    sigmas: Floats | None = None
    """Flow models: levels [n] before the shift, if the family's pipeline defines them."""
    image_tokens: int | None = None
    """Latent tokens per image, for flow models whose shift depends on the size."""


def ddim_layout(diffusion: Diffusion, options: LayoutOptions, *, final_alpha: bool = True, least: float = 0.0) -> Path:
    """Return the path of DDIM: integer timesteps; each step goes down by T // n, for any spacing."""
    n, span = options.steps, diffusion.train_steps
    t = _spaced_timesteps(diffusion, options, "leading").round().astype(int)
    cumprod = np.where(diffusion.alphas_cumprod == 0, least, diffusion.alphas_cumprod)
    to_one = diffusion.set_alpha_to_one if diffusion.set_alpha_to_one is not None else final_alpha
    landing = np.where(t >= span // n, cumprod[np.maximum(t - span // n, 0)], 1.0 if to_one else cumprod[0])
    now = cumprod[t]
    return Path(
        t.astype(float), np.sqrt(now), np.sqrt(1 - now), np.sqrt(landing), np.sqrt(1 - landing), diffusion.prediction
    )


def ddpm_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return the path of DDPM: DDIM's timesteps; each step lands on the next one, the last on zero noise."""
    t = _spaced_timesteps(diffusion, options, "leading").round()
    cumprod = np.append(diffusion.alphas_cumprod[t.astype(int)], 1.0)
    return Path.through(t, np.sqrt(cumprod), np.sqrt(1 - cumprod), diffusion.prediction)


def pndm_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return DDIM's path, but by default it ends on the first trained level; it needs a signal above zero."""
    return ddim_layout(diffusion, options, final_alpha=False, least=TINY_ALPHA_CUMPROD)


def lcm_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return the path of consistency models: n of the distilled timesteps, then zero noise."""
    return _distilled_path(diffusion, options, 1.0)


def tcd_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return the path of TCD: LCM's timesteps, but it ends on the first trained level, timestep 0."""
    path = _distilled_path(diffusion, options, float(diffusion.alphas_cumprod[0]))
    return replace(path, trained_levels=_trained_levels(diffusion, np.float64))


def _distilled_path(diffusion: Diffusion, options: LayoutOptions, end: float) -> Path:
    span = diffusion.train_steps
    distilled = min(diffusion.distilled_steps, span)
    if options.steps > distilled:
        raise OutOfRange("steps", options.steps, f"must be 1 to {distilled}, the model's number of distilled steps")
    known = np.arange(1, distilled + 1) * (span // distilled) - 1
    t = known[::-1][np.floor(np.linspace(0, distilled, options.steps, endpoint=False)).astype(int)]
    cumprod = np.append(diffusion.alphas_cumprod[t], end)
    return Path.through(t.astype(float), np.sqrt(cumprod), np.sqrt(1 - cumprod), diffusion.prediction)


def euler_layout(diffusion: Diffusion, options: LayoutOptions, *, rounded: bool = False) -> Path:
    """Return the path of k-diffusion's samplers: fractional timesteps, a schedule over the levels in use.

    It may end on the lowest level instead of 0. The initial noise has the standard deviation of the highest level, or 1
    where the spacing leaves out the highest levels.
    """
    trained = _trained_levels(diffusion)
    t = _spaced_timesteps(diffusion, options, "linspace").astype(np.float32).astype(float)
    model_levels = np.interp(t, np.arange(len(trained)), trained)
    levels = _scheduled_levels(diffusion, options, model_levels, model_levels[-1], model_levels[0])
    if SCHEDULES[options.schedule] is not normal:
        t = timesteps_of(levels[:-1], trained)
        t = t.round() if rounded and options.schedule == "karras" else t
    if diffusion.final_sigma == "sigma_min":
        levels[-1] = trained[0]
    alphas = 1 / np.sqrt(1 + levels**2)
    alphas[-1] = 1.0  # the result is read in k-diffusion's frame
    peak = levels[0] * alphas[0]
    init = 1.0 if _spacing(diffusion, options) == "leading" else float(peak)
    return replace(Path.through(t, alphas, levels * alphas, diffusion.prediction, init), trained_levels=trained)


def dpm2_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return Euler's path, but with integer timesteps for Karras' levels."""
    return euler_layout(diffusion, options, rounded=True)


def lambda_layout(diffusion: Diffusion, options: LayoutOptions, *, to_zero: bool = True) -> Path:
    """Return the path of DPM-Solver++: integer timesteps spaced for n + 1 steps.

    Schedules range over all trained levels.
    """
    trained = _trained_levels(diffusion)
    t = _spaced_timesteps(diffusion, options, "linspace", extra=1).round()
    model_levels = np.interp(t, np.arange(len(trained)), trained)
    levels = _scheduled_levels(diffusion, options, model_levels, trained[0], trained[-1])
    if SCHEDULES[options.schedule] is not normal:
        t = timesteps_of(levels[:-1], trained)
        t = t.round() if options.schedule in ("karras", "lu") else np.trunc(t)
    if not to_zero or diffusion.final_sigma == "sigma_min":
        lowest = diffusion.sigma_min if SCHEDULES[options.schedule] is not normal else None
        levels[-1] = min(
            levels[-2], trained[0] if diffusion.sigma_min_source == "trained" or lowest is None else lowest
        )
    alphas = 1 / np.sqrt(1 + levels**2)
    return Path.through(t, alphas, levels * alphas, diffusion.prediction)


def singlestep_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return DPM-Solver++'s path with `linspace`, the only spacing of the singlestep class in diffusers."""
    return lambda_layout(replace(diffusion, spacing="linspace"), options)


def deis_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return DPM-Solver++'s path, but not down to 0, where DEIS's logarithm is infinite."""
    return lambda_layout(diffusion, options, to_zero=False)


def flow_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return the path of flow matching: levels evenly spaced over the trained ones, then shifted."""
    model_levels = diffusion.shift(_flow_levels(diffusion, options), options.image_tokens, options.steps)
    levels = _scheduled_levels(diffusion, options, model_levels, model_levels[-1], model_levels[0])
    return _flow_path(diffusion, levels[:-1] * diffusion.train_steps, levels)


def flow_lambda_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return the path of DPM-Solver++ on a flow: integer timesteps, starting just below level 1."""
    if options.sigmas is not None or options.schedule != "normal":
        return _with_finite_lambda(diffusion, flow_layout(diffusion, options))
    span = diffusion.train_steps
    levels = 1 - np.linspace(1, 1 / span, options.steps + 1)[::-1]
    model_levels = diffusion.shift(levels, options.image_tokens, options.steps)[:-1]
    return _flow_lambda_path(diffusion, model_levels)


def flow_unipc_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return the path of UniPC on a flow: integer timesteps from 1 - 1e-6, where lambda is still finite."""
    if options.schedule != "normal":
        return _with_finite_lambda(diffusion, flow_layout(diffusion, options))
    span = diffusion.train_steps
    own = options.sigmas
    levels = np.linspace(1, 1 / span, options.steps + 1)[:-1] if own is None else np.asarray(own, float)
    model_levels = diffusion.shift(levels, options.image_tokens, options.steps)
    model_levels[0] = min(model_levels[0], MAX_FLOW_SIGMA)
    return _flow_lambda_path(diffusion, model_levels)


def edm_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return the path of EDM: its own schedule of levels, or another one between the same ends.

    Data are divided by their deviation, so that the network's input needs no scaling. The initial noise is diffusers'.
    """
    low, high, deviation = diffusion.sigma_min or 0.0, diffusion.sigma_max or 1.0, diffusion.data_deviation
    ramp = np.linspace(0, 1, options.steps)
    if diffusion.rho:
        ends = high ** (1 / diffusion.rho), low ** (1 / diffusion.rho)
        own = (ends[0] + ramp * (ends[1] - ends[0])) ** diffusion.rho
    else:
        own = np.exp(np.log(high) + ramp * (np.log(low) - np.log(high)))
    levels = SCHEDULES[options.schedule](own, low, high)
    if diffusion.final_sigma == "sigma_min":
        levels[-1] = low
    alphas = 1 / np.sqrt(1 + levels**2)
    alphas[-1] = 1.0
    init = np.hypot(1, high * deviation) / np.hypot(deviation, high * deviation)
    times = np.log(levels[:-1] * deviation) / 4
    return Path.through(times, alphas, levels * alphas, diffusion.prediction, float(init))


def trigflow_layout(diffusion: Diffusion, options: LayoutOptions) -> Path:
    """Return the path of SANA-Sprint: evenly spaced angles; the second of two steps begins at 1.3."""
    angles = np.linspace(MAX_ANGLE, 0, options.steps + 1)
    if options.steps == 2:
        angles[1] = SECOND_ANGLE
    return Path.through(angles[:-1], np.cos(angles), np.sin(angles), diffusion.prediction)


def _flow_levels(diffusion: Diffusion, options: LayoutOptions) -> Floats:
    """Return the levels [n] before the shift.

    diffusers applies a fixed shift twice: to the trained levels, then to the levels in use.
    """
    n = options.steps
    if options.sigmas is not None:
        return np.asarray(options.sigmas, np.float64)
    if options.schedule == "simple":
        return np.linspace(1, 1 / n, n)
    fixed = Shift() if diffusion.shift.dynamic else Shift(diffusion.shift.factor)
    high, low = fixed(np.array([1.0, 1.0 / diffusion.train_steps])).tolist()
    return np.linspace(high, low, n) if options.schedule != "sgm_uniform" else np.linspace(high, low, n + 1)[:-1]


def _flow_lambda_path(diffusion: Diffusion, model_levels: Floats) -> Path:
    last = model_levels[-1] if diffusion.final_sigma == "sigma_min" else 0.0
    return _flow_path(diffusion, np.trunc(model_levels * diffusion.train_steps), np.append(model_levels, last))


def _with_finite_lambda(diffusion: Diffusion, path: Path) -> Path:
    """Return the path with its levels limited to those at which lambda is finite."""
    sigma = np.minimum(path.sigma, MAX_FLOW_SIGMA)
    return _flow_path(diffusion, path.timesteps, np.append(sigma, path.sigma_to[-1]))


def _flow_path(diffusion: Diffusion, t: Floats, levels: Floats) -> Path:
    return Path.through(t, 1 - levels, levels, diffusion.prediction)


def _trained_levels(diffusion: Diffusion, computed: type[np.floating] = np.float32) -> Floats:
    """Return k-diffusion's sigma [T] of every trained timestep, rising, computed in float32 as in diffusers.

    Where a timestep is truncated to an integer, that rounding decides the result.
    """
    cumprod = np.where(diffusion.alphas_cumprod == 0, TINY_ALPHA_CUMPROD, diffusion.alphas_cumprod).astype(computed)
    return np.asarray(np.sqrt((1 - cumprod) / cumprod), np.float64)


def _spacing(diffusion: Diffusion, options: LayoutOptions) -> str | None:
    return SPACINGS.get(options.schedule, diffusion.spacing)


def _spaced_timesteps(diffusion: Diffusion, options: LayoutOptions, default: str, *, extra: int = 0) -> Floats:
    """Return the first n of n + `extra` falling timesteps (Lin et al. 2305.08891, table 2)."""
    n, span, m = options.steps, diffusion.train_steps, options.steps + extra
    match _spacing(diffusion, options) or default:
        case "linspace":
            t = np.linspace(0.0, span - 1, m)[::-1]
        case "leading":
            t = np.arange(m, dtype=np.float64)[::-1] * (span // m) + diffusion.steps_offset
            if t[0] >= span:
                problem = f"would exceed timestep {span - 1}: the model's steps_offset is {diffusion.steps_offset}"
                raise OutOfRange("steps", n, problem)
        case "uniform":
            t = np.linspace(0.0, span - 1, n + 1)[::-1]
        case "simple":
            t = span - 1 - np.floor(np.arange(n) * (span / n))
        case _:
            t = np.asarray(np.arange(span, 0, -span / n).round() - 1, np.float64)
    return t[:n]


def _scheduled_levels(
    diffusion: Diffusion, options: LayoutOptions, model_levels: Floats, low: float, high: float
) -> Floats:
    low = low if diffusion.sigma_min is None else diffusion.sigma_min
    high = high if diffusion.sigma_max is None else diffusion.sigma_max
    if SCHEDULES[options.schedule] is not normal and low > high:
        problem = f"is not possible: the model's sigma_min {low:g} is above its highest level {high:g}"
        raise Incompatible("schedule", options.schedule, problem)
    return SCHEDULES[options.schedule](model_levels, low, high)
