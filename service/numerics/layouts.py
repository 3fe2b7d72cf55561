"""Layouts: where a run of n steps calls the model, each as diffusers' classes have it.

A sampler is mathematics and needs any falling path. Which path is history: diffusers grew four habits of choosing
timesteps, and a picture is the same there and here only if the habits are too.
"""

from dataclasses import dataclass, replace

import numpy as np

from .choices import Incompatible, OutOfRange
from .diffusion import Diffusion
from .path import Path, timesteps_of
from .schedules import SCHEDULES, SPACINGS, Shift, normal
from .table import Floats

TINY_ALPHA_CUMPROD = 2.0**-24
"""Stands for a signal of zero where levels are ratios; diffusers' number."""

HIGHEST = 1 - 1e-6
"""The level of a flow that stands for 1 where lambda has to be finite; diffusers' number."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a layout has to lay out."""

    steps: int
    schedule: str = "normal"
    sigmas: Floats | None = None
    """Flow models: levels [n] before the shift, where the family's own pipeline gives them."""
    image_tokens: int | None = None
    """Flow models with a shift that depends on the size: tokens per image."""


def ddim_layout(diffusion: Diffusion, plan: Plan, *, final_alpha: bool = True, least: float = 0.0) -> Path:
    """DDIM and its kin: integer timesteps; each step goes down by T // n, whatever the spacing."""
    n, span = plan.steps, diffusion.train_steps
    t = _spaced(diffusion, plan, "leading").round().astype(int)
    cumprod = np.where(diffusion.alphas_cumprod == 0, least, diffusion.alphas_cumprod)
    to_one = diffusion.set_alpha_to_one if diffusion.set_alpha_to_one is not None else final_alpha
    landing = np.where(t >= span // n, cumprod[np.maximum(t - span // n, 0)], 1.0 if to_one else cumprod[0])
    now = cumprod[t]
    return Path(
        t.astype(float), np.sqrt(now), np.sqrt(1 - now), np.sqrt(landing), np.sqrt(1 - landing), diffusion.prediction
    )


def ddpm_layout(diffusion: Diffusion, plan: Plan) -> Path:
    """DDPM: DDIM's timesteps, each step down to the next of them and the last one to no noise."""
    t = _spaced(diffusion, plan, "leading").round()
    cumprod = np.append(diffusion.alphas_cumprod[t.astype(int)], 1.0)
    return Path.through(t, np.sqrt(cumprod), np.sqrt(1 - cumprod), diffusion.prediction)


def pndm_layout(diffusion: Diffusion, plan: Plan) -> Path:
    """DDIM's, but it ends on the first trained level unless the model says otherwise, and needs some signal."""
    return ddim_layout(diffusion, plan, final_alpha=False, least=TINY_ALPHA_CUMPROD)


def lcm_layout(diffusion: Diffusion, plan: Plan) -> Path:
    """Consistency models: n of the timesteps that the model was distilled on, then a clean image."""
    return _distilled(diffusion, plan, 1.0)


def tcd_layout(diffusion: Diffusion, plan: Plan) -> Path:
    """Trajectory consistency: LCM's timesteps, but it ends on the first trained level, timestep 0."""
    path = _distilled(diffusion, plan, float(diffusion.alphas_cumprod[0]))
    return replace(path, trained=_levels(diffusion, np.float64))


def _distilled(diffusion: Diffusion, plan: Plan, end: float) -> Path:
    span = diffusion.train_steps
    distilled = min(diffusion.distilled_steps, span)
    if plan.steps > distilled:
        raise OutOfRange("steps", plan.steps, f"must be 1 to {distilled}, the steps this sampler was distilled on")
    known = np.arange(1, distilled + 1) * (span // distilled) - 1
    t = known[::-1][np.floor(np.linspace(0, distilled, plan.steps, endpoint=False)).astype(int)]
    cumprod = np.append(diffusion.alphas_cumprod[t], end)
    return Path.through(t.astype(float), np.sqrt(cumprod), np.sqrt(1 - cumprod), diffusion.prediction)


def euler_layout(diffusion: Diffusion, plan: Plan, *, rounded: bool = False) -> Path:
    """k-diffusion's samplers: fractional timesteps, a schedule over the levels in use, the last of them may stay.

    The start has the highest level's own spread, or unit variance where the spacing leaves the highest levels out.
    """
    trained = _levels(diffusion)
    t = _spaced(diffusion, plan, "linspace").astype(np.float32).astype(float)
    own = np.interp(t, np.arange(len(trained)), trained)
    levels = _scheduled(diffusion, plan, own, own[-1], own[0])
    if SCHEDULES[plan.schedule] is not normal:
        t = timesteps_of(levels[:-1], trained)
        t = t.round() if rounded and plan.schedule == "karras" else t
    if diffusion.final_sigma == "sigma_min":
        levels[-1] = trained[0]
    alphas = 1 / np.sqrt(1 + levels**2)
    alphas[-1] = 1.0  # the result is read in k-diffusion's frame
    peak = levels[0] * alphas[0]
    init = 1.0 if _spacing(diffusion, plan) == "leading" else float(peak)
    return replace(Path.through(t, alphas, levels * alphas, diffusion.prediction, init), trained=trained)


def dpm2_layout(diffusion: Diffusion, plan: Plan) -> Path:
    """Euler's, but Karras' levels are called at whole timesteps."""
    return euler_layout(diffusion, plan, rounded=True)


def lambda_layout(diffusion: Diffusion, plan: Plan, *, to_zero: bool = True) -> Path:
    """DPM-Solver++ and its kin: integer timesteps as if for one step more, schedules over all trained levels."""
    trained = _levels(diffusion)
    t = _spaced(diffusion, plan, "linspace", extra=1).round()
    own = np.interp(t, np.arange(len(trained)), trained)
    levels = _scheduled(diffusion, plan, own, trained[0], trained[-1])
    if SCHEDULES[plan.schedule] is not normal:
        t = timesteps_of(levels[:-1], trained)
        t = t.round() if plan.schedule in ("karras", "lu") else np.trunc(t)
    if not to_zero or diffusion.final_sigma == "sigma_min":
        own_low = diffusion.sigma_min if SCHEDULES[plan.schedule] is not normal else None
        levels[-1] = min(levels[-2], trained[0] if diffusion.lowest == "trained" or own_low is None else own_low)
    alphas = 1 / np.sqrt(1 + levels**2)
    return Path.through(t, alphas, levels * alphas, diffusion.prediction)


def singlestep_layout(diffusion: Diffusion, plan: Plan) -> Path:
    """DPM-Solver++'s, but its class in diffusers knows no spacing other than linspace."""
    return lambda_layout(replace(diffusion, spacing="linspace"), plan)


def deis_layout(diffusion: Diffusion, plan: Plan) -> Path:
    """DPM-Solver++'s, but never down to zero, where DEIS's logarithm ends."""
    return lambda_layout(diffusion, plan, to_zero=False)


def flow_layout(diffusion: Diffusion, plan: Plan) -> Path:
    """Flow matching: levels evenly spaced over those of training, then shifted."""
    own = diffusion.shift(_flow_levels(diffusion, plan), plan.image_tokens)
    levels = _scheduled(diffusion, plan, own, own[-1], own[0])
    return _flow_path(diffusion, levels[:-1] * diffusion.train_steps, levels)


def flow_lambda_layout(diffusion: Diffusion, plan: Plan) -> Path:
    """DPM-Solver++ on a flow: from just below 1, integer timesteps."""
    if plan.sigmas is not None or plan.schedule != "normal":
        return _below_one(diffusion, flow_layout(diffusion, plan))
    span = diffusion.train_steps
    own = diffusion.shift(1 - np.linspace(1, 1 / span, plan.steps + 1)[::-1], plan.image_tokens)[:-1]
    return _flow_lambda_path(diffusion, own)


def flow_unipc_layout(diffusion: Diffusion, plan: Plan) -> Path:
    """UniPC on a flow: from 1 less 1e-6, where lambda is still finite; integer timesteps."""
    if plan.schedule != "normal":
        return _below_one(diffusion, flow_layout(diffusion, plan))
    span = diffusion.train_steps
    even = np.linspace(1, 1 / span, plan.steps + 1)[:-1] if plan.sigmas is None else np.asarray(plan.sigmas, float)
    own = diffusion.shift(even, plan.image_tokens)
    own[0] = min(own[0], HIGHEST)
    return _flow_lambda_path(diffusion, own)


def _flow_levels(diffusion: Diffusion, plan: Plan) -> Floats:
    """Return the levels [n] before the shift.

    Where the shift is fixed, diffusers applies it twice: to the trained levels, then to those in use.
    """
    n = plan.steps
    if plan.sigmas is not None:
        return np.asarray(plan.sigmas, np.float64)
    if plan.schedule == "simple":
        return np.linspace(1, 1 / n, n)
    fixed = Shift() if diffusion.shift.dynamic else Shift(diffusion.shift.amount)
    high, low = fixed(np.array([1.0, 1.0 / diffusion.train_steps])).tolist()
    return np.linspace(high, low, n) if plan.schedule != "sgm_uniform" else np.linspace(high, low, n + 1)[:-1]


def _flow_lambda_path(diffusion: Diffusion, own: Floats) -> Path:
    last = own[-1] if diffusion.final_sigma == "sigma_min" else 0.0
    return _flow_path(diffusion, np.trunc(own * diffusion.train_steps), np.append(own, last))


def _below_one(diffusion: Diffusion, path: Path) -> Path:
    """Return the path with a first level at which lambda is finite."""
    sigma = np.minimum(path.sigma, HIGHEST)
    return _flow_path(diffusion, path.timesteps, np.append(sigma, path.sigma_to[-1]))


def _flow_path(diffusion: Diffusion, t: Floats, levels: Floats) -> Path:
    return Path.through(t, 1 - levels, levels, diffusion.prediction)


def _levels(diffusion: Diffusion, computed: type[np.floating] = np.float32) -> Floats:
    """Return k-diffusion's sigma [T] of every trained timestep, rising.

    It is computed in float32 as in diffusers. Where a timestep is cut to a whole number, that rounding decides.
    """
    cumprod = np.where(diffusion.alphas_cumprod == 0, TINY_ALPHA_CUMPROD, diffusion.alphas_cumprod).astype(computed)
    return np.asarray(np.sqrt((1 - cumprod) / cumprod), np.float64)


def _spacing(diffusion: Diffusion, plan: Plan) -> str | None:
    return SPACINGS.get(plan.schedule, diffusion.spacing)


def _spaced(diffusion: Diffusion, plan: Plan, usual: str, *, extra: int = 0) -> Floats:
    """Return n falling timesteps (Lin et al. 2305.08891, table 2); `extra` more are counted but left out."""
    n, span, m = plan.steps, diffusion.train_steps, plan.steps + extra
    match _spacing(diffusion, plan) or usual:
        case "linspace":
            t = np.linspace(0.0, span - 1, m)[::-1]
        case "leading":
            t = np.arange(m, dtype=np.float64)[::-1] * (span // m) + diffusion.steps_offset
            if t[0] >= span:
                problem = f"lead beyond timestep {span - 1}, as the model's steps_offset is {diffusion.steps_offset}"
                raise OutOfRange("steps", n, problem)
        case "uniform":
            t = np.linspace(0.0, span - 1, n + 1)[::-1]
        case "simple":
            t = span - 1 - np.floor(np.arange(n) * (span / n))
        case _:
            t = np.asarray(np.arange(span, 0, -span / n).round() - 1, np.float64)
    return t[:n]


def _scheduled(diffusion: Diffusion, plan: Plan, own: Floats, low: float, high: float) -> Floats:
    low = low if diffusion.sigma_min is None else diffusion.sigma_min
    high = high if diffusion.sigma_max is None else diffusion.sigma_max
    if SCHEDULES[plan.schedule] is not normal and low > high:
        problem = f"can't be spread: the model's sigma_min {low:g} is above the highest level, {high:g}"
        raise Incompatible("schedule", plan.schedule, problem)
    return SCHEDULES[plan.schedule](own, low, high)
