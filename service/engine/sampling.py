"""Sampling of a plan: sampler, schedule, number of steps and table of coefficients.

With a strength below 1 the first, noisiest steps are skipped, as in diffusers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from tintype.v1.limits import MAX_STEPS

from ..errors import InvalidField, ModelBroken
from ..numerics import SAMPLERS, InvalidChoice, InvalidSetting, Table, make_table, max_steps, resolve

if TYPE_CHECKING:
    from ..job import Job
    from ..models.spec import ModelSpec
    from ..numerics import Diffusion


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampler, schedule and their `table`, which leaves out the first `skipped` of `steps`."""

    sampler: str
    schedule: str
    steps: int
    skipped: int
    table: Table = field(repr=False)


def make_sampling(job: Job, spec: ModelSpec, tokens: int, *, sampler: str, steps: int) -> Sampling:
    """Return the sampling of `job` for latents of `tokens` patches.

    `sampler` is empty if neither job nor presets name one. `steps` is reduced to what the sampler allows, unless the
    job names it.

    Raises:
        InvalidField: sampler, schedule, steps or eta is invalid, or they cannot be combined.
        ModelBroken: the model's scheduler settings are wrong.
    """
    # The default schedule belongs to the default sampler. Another sampler may imply its own, or have none.
    schedule = job.schedule or ("" if sampler else spec.defaults.schedule)
    try:
        sampler, schedule = resolve(spec.diffusion, sampler or spec.defaults.sampler, schedule or None)
        diffusion, steps, skipped = _process(job, spec, sampler, steps)
        table = _table(
            diffusion,
            steps,
            min(skipped, steps - 1),
            sampler,
            schedule,
            job.eta,
            tokens if spec.diffusion.shift.dynamic else None,
            spec.even_levels and spec.diffusion.flow,
        )
    except InvalidSetting as error:
        raise ModelBroken(spec.name, [str(error)]) from error
    except InvalidChoice as error:
        raise InvalidField(error.field, f"{error.value!r} {error.problem}") from error
    return Sampling(sampler, schedule, steps, skipped, table)


def _process(job: Job, spec: ModelSpec, sampler: str, steps: int) -> tuple[Diffusion, int, int]:
    """Return the process to sample, the number of steps, and how many of them are skipped."""
    diffusion, strength = spec.diffusion, effective_strength(job, spec)
    if respaced := bool(spec.respaced and strength and SAMPLERS[sampler].distilled):
        diffusion = shorten(diffusion.for_sampler(sampler), strength or 1.0)
    most = min(max_steps(diffusion, sampler), MAX_STEPS)
    if job.steps is None:
        steps = min(steps, most)
    elif respaced and steps > most:
        left = f"a strength of {strength:g} leaves {most} of the steps that the model was distilled on"
        raise InvalidField("steps", f"must be 1 to {most}, not {steps}: {left}; a higher strength leaves more")
    return diffusion, *count_steps(steps, None if respaced else strength, most, flow=spec.diffusion.flow)


def effective_strength(job: Job, spec: ModelSpec) -> float | None:
    """Return the strength of `job`, or the model's default; None if it does not start from an image."""
    assert job.source or not job.image, "`prepare_job` runs before the engine"  # noqa: S101
    if job.source is None:
        return None
    return spec.defaults.strength if job.strength is None else job.strength


def count_steps(steps: int, strength: float | None, most: int, *, flow: bool) -> tuple[int, int]:
    """Return the number of steps of the table, and how many of them are skipped at the noisy end.

    diffusers runs int(steps * strength) steps, rounded up for flow models, and raises an error if that is 0. Here one
    step runs unless the strength is 0: the number of steps is then raised to ceil(1 / strength), at most `most`.
    """
    if strength is None:
        return steps, 0
    skipped = _skipped(steps, strength, flow=flow)
    if not strength or skipped < steps:
        return steps, skipped
    needed = most if strength * most < 1 else ceil(1 / strength)
    needed = min(needed + (int(needed * strength) < 1), most)
    return needed, min(_skipped(needed, strength, flow=flow), needed - 1)


def _skipped(steps: int, strength: float, *, flow: bool) -> int:
    """Return the number of steps that a strength skips, rounded as in diffusers."""
    return int(steps - min(steps * strength, steps)) if flow else steps - int(steps * strength)


@lru_cache(maxsize=64)
def shorten(diffusion: Diffusion, strength: float) -> Diffusion:
    """Return the less noisy part of a distilled process that a strength leaves; diffusers takes all steps from it."""
    left, span = max(int(diffusion.distilled_steps * strength), 1), diffusion.train_steps // diffusion.distilled_steps
    alphas = diffusion.alphas_cumprod[: left * span]
    return replace(diffusion, distilled_steps=left, train_steps=left * span, alphas_cumprod=alphas)


@lru_cache(maxsize=256)
def _table(
    diffusion: Diffusion,
    steps: int,
    skipped: int,
    sampler: str,
    schedule: str,
    eta: float | None,
    tokens: int | None,
    even: bool,  # noqa: FBT001 - part of a key
) -> Table:
    return make_table(
        diffusion,
        steps,
        sampler=sampler,
        schedule=schedule,
        eta=eta,
        start=skipped,
        image_tokens=tokens,
        sigmas=np.linspace(1, 1 / steps, steps) if even else None,
    )
