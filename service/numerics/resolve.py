"""Conversion of choices (sampler, schedule, steps, eta) into a table."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .choices import Incompatible, OutOfRange, UnknownName
from .diffusion import Diffusion
from .layouts import LayoutOptions
from .path import Levels
from .samplers import SAMPLERS, Sampler, fixed_samplers, layout_for, sampler_name, samplers_for
from .schedules import SCHEDULES, schedule_name, split_schedule
from .table import Floats, NotFinite, Table


def make_table(
    diffusion: Diffusion,
    steps: int,
    *,
    sampler: str | None = None,
    schedule: str | None = None,
    eta: float | None = None,
    start: int = 0,
    image_tokens: int | None = None,
    sigmas: Floats | None = None,
) -> Table:
    """Return the table of a run of `steps` steps.

    Args:
        diffusion: The model's process and defaults.
        steps: 1 to the number of trained timesteps.
        sampler: A name or alias in `SAMPLERS`, in any common spelling (`DPM++ 2M Karras` also names a schedule);
            None is the model's default.
        schedule: A name in `SCHEDULES`; None is the model's default, if the sampler takes a schedule.
        eta: DDIM and TCD only: 0 (deterministic) to 1 (DDPM; all noise is fresh); None is 0.
        start: Steps to leave out at the noisy end (image-to-image).
        image_tokens: Latent tokens per image, for flows whose shift depends on them.
        sigmas: Flows only: levels [steps] in 1..0 before the shift, if the family's pipeline defines them.

    Raises:
        InvalidChoice: a choice is unknown, out of range or incompatible with another; `.field` names it.
    """
    _check_steps(diffusion, steps, start, sigmas)
    name, schedule = resolve(diffusion, sampler, schedule)
    row, diffusion = SAMPLERS[name], diffusion.for_sampler(name)
    layout = layout_for(row, diffusion)
    assert layout, "resolve has chosen a sampler that can sample this model"  # noqa: S101
    solve = (row.flow_solve if diffusion.flow else None) or row.solve
    arguments = {**_sampler_settings(row, diffusion), **_eta(name, eta)}
    options = LayoutOptions(steps, schedule, sigmas, image_tokens)
    try:
        with np.errstate(all="ignore"):
            return solve(layout(diffusion, options).without_first(start), **arguments)
    except (NotFinite, np.linalg.LinAlgError) as error:  # LinAlgError: a level repeats
        problem = f"has no finite weights for this model in {steps} steps with schedule {schedule}: {error}"
        raise Incompatible("sampler", name, problem) from error


def _check_steps(diffusion: Diffusion, steps: int, start: int, sigmas: Floats | None) -> None:
    """Raise InvalidChoice if the numbers of a run do not suit the model or each other."""
    if not 1 <= steps <= diffusion.train_steps:
        raise OutOfRange("steps", steps, f"must be 1 to {diffusion.train_steps}")
    if not 0 <= start < steps:
        raise OutOfRange("start", start, f"must be 0 to {steps - 1} (less than steps)")
    if sigmas is not None and not diffusion.flow:
        raise Incompatible("sigmas", sigmas, "can only be set for flow models")
    if sigmas is not None and len(sigmas) != steps:
        raise OutOfRange("sigmas", sigmas, f"must be {steps} levels, one per step")


def max_steps(diffusion: Diffusion, sampler: str) -> int:
    """Return the largest number of steps that a sampler takes: those of training or of distillation."""
    trained = diffusion.train_steps
    distilled = SAMPLERS[sampler].distilled and not diffusion.flow and diffusion.levels is Levels.TRAINED
    return min(trained, diffusion.for_sampler(sampler).distilled_steps) if distilled else trained


def resolve(diffusion: Diffusion, sampler: str | None = None, schedule: str | None = None) -> tuple[str, str]:
    """Return the names in `SAMPLERS` and `SCHEDULES` that these choices select for this model.

    Raises:
        InvalidChoice: a name is unknown, or incompatible with the other choice or the model.
    """
    name, implied = (diffusion.sampler, None) if sampler is None else _parse_sampler(sampler)
    if name not in samplers_for(diffusion):
        raise Incompatible(
            "sampler", name, f"can't sample this kind of model; use one of {', '.join(samplers_for(diffusion))}"
        )
    wanted = _parse_schedule(schedule) if schedule is not None else implied
    if schedule is not None and implied not in (None, wanted):
        raise Incompatible("schedule", schedule, f"contradicts the schedule in the sampler's name {sampler!r}")
    takes_schedule = name not in fixed_samplers(diffusion)
    if not takes_schedule and wanted not in (None, "normal"):
        raise Incompatible(
            "schedule",
            wanted,
            f"can't be used with {name}, which has fixed timesteps; samplers that take it: {_with_schedule(diffusion)}",
        )
    return name, (wanted or diffusion.for_sampler(name).schedule) if takes_schedule else "normal"


def _with_schedule(diffusion: Diffusion) -> str:
    fixed = fixed_samplers(diffusion)
    return ", ".join(name for name in samplers_for(diffusion) if name not in fixed)


def _parse_sampler(typed: str) -> tuple[str, str | None]:
    """Return the sampler, and the schedule if any, that a name as typed stands for."""
    name = sampler_name(typed)
    if name:
        return name, None
    head, schedule = split_schedule(typed)
    name = sampler_name(head)
    if name and schedule:
        return name, schedule
    raise UnknownName("sampler", typed, SAMPLERS)


def _parse_schedule(typed: str) -> str:
    name = schedule_name(typed)
    if name is None:
        raise UnknownName("schedule", typed, SCHEDULES)
    return name


def _sampler_settings(row: Sampler, diffusion: Diffusion) -> Mapping[str, Any]:
    return {key: value for key, value in diffusion.sampler_settings.items() if key in row.settings}


def _eta(name: str, eta: float | None) -> Mapping[str, float]:
    if eta is None or (eta == 0 and SAMPLERS[name].eta is None):
        return {}
    if not 0 <= eta <= 1:
        raise OutOfRange("eta", eta, "must be 0 to 1")
    if SAMPLERS[name].eta is None:
        with_eta = " and ".join(name for name, row in SAMPLERS.items() if row.eta is not None)
        raise Incompatible("eta", eta, f"can only be set for {with_eta}, not for {name}")
    return {"eta": eta}
