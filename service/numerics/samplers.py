"""The samplers by name, and the one way from a choice to a table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import layouts
from .choices import Incompatible, OutOfRange, UnknownName, plain
from .diffusion import Diffusion
from .dpmpp import dpmpp
from .layouts import Plan
from .multistep import deis, lms, plms
from .onestep import ddim, ddpm, euler, euler_ancestral, heun, lcm
from .path import Path
from .schedules import SCHEDULES, schedule_name
from .table import Floats, Table
from .unipc import unipc

Layout = Callable[[Diffusion, Plan], Path]


@dataclass(frozen=True, slots=True)
class Sampler:
    """One row of the table of samplers."""

    solve: Callable[..., Table]
    layout: Layout
    """Where a diffusion is called."""
    flow_layout: Layout | None = None
    """Where a flow is called; None if it can't sample one."""
    settings: tuple[str, ...] = ()
    """What a model's own configuration may tell it."""
    stochastic: bool = False
    schedules: bool = True
    """Whether the noise levels are free to choose."""
    aliases: tuple[str, ...] = ()
    """Other names, plain: those of diffusers' classes and of other programs."""


_multistep = ("heun", "lower_order_final", "euler_at_final")

SAMPLERS: dict[str, Sampler] = {
    "ddim": Sampler(ddim, layouts.ddim_layout, schedules=False, aliases=("ddimscheduler",)),
    "ddpm": Sampler(ddpm, layouts.ddpm_layout, stochastic=True, schedules=False, aliases=("ddpmscheduler",)),
    "plms": Sampler(plms, layouts.pndm_layout, schedules=False, aliases=("pndm", "pndmscheduler")),
    "lcm": Sampler(
        lcm,
        layouts.lcm_layout,
        layouts.flow_layout,
        settings=("timestep_scaling",),
        stochastic=True,
        schedules=False,
        aliases=("lcmscheduler",),
    ),
    "euler": Sampler(
        euler,
        layouts.euler_layout,
        layouts.flow_layout,
        aliases=("k_euler", "flow_euler", "eulerdiscretescheduler", "flowmatcheulerdiscretescheduler"),
    ),
    "euler_ancestral": Sampler(
        euler_ancestral,
        layouts.euler_layout,
        stochastic=True,
        aliases=("euler_a", "k_euler_ancestral", "k_euler_a", "eulerancestraldiscretescheduler"),
    ),
    "heun": Sampler(heun, layouts.euler_layout, aliases=("k_heun", "heundiscretescheduler")),
    "lms": Sampler(lms, layouts.euler_layout, aliases=("k_lms", "lmsdiscretescheduler")),
    "dpmpp_2m": Sampler(
        partial(dpmpp, order=2),
        layouts.lambda_layout,
        layouts.flow_lambda_layout,
        settings=_multistep,
        aliases=("k_dpmpp_2m", "dpmsolvermultistepscheduler"),
    ),
    "dpmpp_3m": Sampler(
        partial(dpmpp, order=3),
        layouts.lambda_layout,
        layouts.flow_lambda_layout,
        settings=_multistep,
        aliases=("k_dpmpp_3m",),
    ),
    "dpmpp_2m_sde": Sampler(
        partial(dpmpp, order=2, sde=True),
        layouts.lambda_layout,
        layouts.flow_lambda_layout,
        settings=_multistep,
        stochastic=True,
        aliases=("k_dpmpp_2m_sde",),
    ),
    "dpmpp_3m_sde": Sampler(
        partial(dpmpp, order=3, sde=True),
        layouts.lambda_layout,
        layouts.flow_lambda_layout,
        settings=_multistep,
        stochastic=True,
        aliases=("k_dpmpp_3m_sde",),
    ),
    "deis": Sampler(
        deis,
        layouts.deis_layout,
        settings=("order", "lower_order_final"),
        aliases=("deismultistepscheduler",),
    ),
    "unipc": Sampler(
        unipc,
        layouts.lambda_layout,
        layouts.flow_unipc_layout,
        settings=("order", "bh1", "lower_order_final", "disable_corrector"),
        aliases=("uni_pc", "unipcmultistepscheduler"),
    ),
}

_NAMES = {known: name for name, row in SAMPLERS.items() for known in (name, *row.aliases)}


def make_table(
    diffusion: Diffusion,
    steps: int,
    *,
    sampler: str | None = None,
    schedule: str | None = None,
    eta: float = 0.0,
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
        eta: DDIM only, 0 (deterministic) to 1 (DDPM).
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
    row = SAMPLERS[name]
    layout = (row.flow_layout if diffusion.flow else None) or row.layout
    path = layout(diffusion, Plan(steps, schedule, sigmas, image_tokens))
    return row.solve(path.tail(start), **_settings(row, diffusion), **_eta(name, eta))


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
    if not row.schedules and wanted not in (None, "normal"):
        raise Incompatible("schedule", wanted, f"does not go with {name}, which has its own; leave it out")
    return name, (wanted or diffusion.schedule) if row.schedules else "normal"


def samplers_for(diffusion: Diffusion) -> list[str]:
    """Return the names of the samplers that can sample this model, sorted."""
    return sorted(name for name, row in SAMPLERS.items() if row.flow_layout or not diffusion.flow)


def _split(typed: str) -> tuple[str, str | None]:
    """Read a sampler's name, which may end in a schedule's."""
    name = plain(typed)
    if name in _NAMES:
        return _NAMES[name], None
    head, _, tail = name.rpartition("_")
    if head in _NAMES and (schedule := schedule_name(tail)):
        return _NAMES[head], schedule
    raise UnknownName("sampler", typed, SAMPLERS)


def _schedule(typed: str) -> str:
    name = schedule_name(typed)
    if name is None:
        raise UnknownName("schedule", typed, SCHEDULES)
    return name


def _settings(row: Sampler, diffusion: Diffusion) -> Mapping[str, Any]:
    return {word: value for word, value in diffusion.settings.items() if word in row.settings}


def _eta(name: str, eta: float) -> Mapping[str, float]:
    if not 0 <= eta <= 1:
        raise OutOfRange("eta", eta, "must be 0 to 1")
    if name == "ddim":
        return {"eta": eta}
    if eta:
        raise Incompatible("eta", eta, f"is DDIM's; {name} has none")
    return {}
