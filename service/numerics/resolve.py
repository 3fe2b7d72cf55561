"""The one way from choices to a table."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .choices import Incompatible, OutOfRange, UnknownName
from .diffusion import Diffusion
from .layouts import Plan
from .samplers import SAMPLERS, Sampler, sampler_name, samplers_for
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
    """Compute the table of a run of `steps` steps.

    Args:
        diffusion: The model's own process and choices.
        steps: 1 to the number of trained timesteps.
        sampler: A name or alias in `SAMPLERS`, as people write it (`DPM++ 2M Karras` names a schedule too);
            None is the model's own choice.
        schedule: A name in `SCHEDULES`; None is the model's own choice, where the sampler leaves one.
        eta: DDIM and TCD only, 0 (deterministic) to 1 (DDPM; all noise fresh); None is 0.
        start: Steps to leave out at the noisy end (image-to-image).
        image_tokens: Latent tokens per image, for flows whose shift depends on them.
        sigmas: Flows only: levels [steps] in 1..0 before the shift, where the family's pipeline has its own.

    Raises:
        InvalidChoice: a choice is unknown, out of range or does not go with the others; `.field` names it.
    """
    if not 1 <= steps <= diffusion.train_steps:
        raise OutOfRange("steps", steps, f"must be 1 to {diffusion.train_steps}")
    if not 0 <= start < steps:
        raise OutOfRange("start", start, f"must be 0 to {steps - 1}, one less than the steps")
    if sigmas is not None and not diffusion.flow:
        raise Incompatible("sigmas", sigmas, "are for flow models only")
    if sigmas is not None and len(sigmas) != steps:
        raise OutOfRange("sigmas", sigmas, f"must be {steps} levels, one a step")
    name, schedule = resolve(diffusion, sampler, schedule)
    row, diffusion = SAMPLERS[name], diffusion.for_sampler(name)
    layout = (row.flow_layout if diffusion.flow else None) or row.layout
    solve = (row.flow_solve if diffusion.flow else None) or row.solve
    options = {**_settings(row, diffusion), **_eta(name, eta)}
    try:
        with np.errstate(all="ignore"):
            return solve(layout(diffusion, Plan(steps, schedule, sigmas, image_tokens)).tail(start), **options)
    except (NotFinite, np.linalg.LinAlgError) as error:  # the latter where a level repeats
        problem = f"has no finite weights for this model in {steps} steps with schedule {schedule}: {error}"
        raise Incompatible("sampler", name, problem) from error


def max_steps(diffusion: Diffusion, sampler: str) -> int:
    """Return the most steps of a sampler: those of training or distillation."""
    trained = diffusion.train_steps
    distilled = SAMPLERS[sampler].distilled and not diffusion.flow
    return min(trained, diffusion.for_sampler(sampler).distilled_steps) if distilled else trained


def resolve(diffusion: Diffusion, sampler: str | None = None, schedule: str | None = None) -> tuple[str, str]:
    """Return the table's names of the sampler and the schedule that these choices mean for this model.

    Raises:
        InvalidChoice: a name is unknown, or the two, or one and the model, do not go together.
    """
    name, implied = (diffusion.sampler, None) if sampler is None else _split(sampler)
    row = SAMPLERS[name]
    if name not in samplers_for(diffusion):
        raise Incompatible("sampler", name, f"can't sample a flow model; {', '.join(samplers_for(diffusion))} can")
    wanted = _schedule(schedule) if schedule is not None else implied
    if schedule is not None and implied not in (None, wanted):
        raise Incompatible("schedule", schedule, f"contradicts the sampler's name, {sampler!r}")
    free = row.takes_schedule or diffusion.flow
    if not free and wanted not in (None, "normal"):
        raise Incompatible(
            "schedule", wanted, f"does not go with {name}, which has its own; {_free(diffusion)} take it"
        )
    return name, (wanted or diffusion.for_sampler(name).schedule) if free else "normal"


def _free(diffusion: Diffusion) -> str:
    return ", ".join(name for name in samplers_for(diffusion) if SAMPLERS[name].takes_schedule)


def _split(typed: str) -> tuple[str, str | None]:
    """Read a sampler's name, which may end in a schedule's."""
    name = sampler_name(typed)
    if name:
        return name, None
    head, schedule = split_schedule(typed)
    name = sampler_name(head)
    if name and schedule:
        return name, schedule
    raise UnknownName("sampler", typed, SAMPLERS)


def _schedule(typed: str) -> str:
    name = schedule_name(typed)
    if name is None:
        raise UnknownName("schedule", typed, SCHEDULES)
    return name


def _settings(row: Sampler, diffusion: Diffusion) -> Mapping[str, Any]:
    return {word: value for word, value in diffusion.settings.items() if word in row.settings}


def _eta(name: str, eta: float | None) -> Mapping[str, float]:
    if eta is None or (eta == 0 and SAMPLERS[name].eta is None):
        return {}
    if not 0 <= eta <= 1:
        raise OutOfRange("eta", eta, "must be 0 to 1")
    if SAMPLERS[name].eta is None:
        able = " and ".join(name for name, row in SAMPLERS.items() if row.eta is not None)
        raise Incompatible("eta", eta, f"is for {able} only; {name} has none")
    return {"eta": eta}
