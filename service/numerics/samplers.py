"""The samplers by name. A new sampler is one function in `onestep`, `multistep` or `dpmpp`, and one row of `SAMPLERS`.

docs/samplers.md describes each sampler and shows how to add one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import layouts
from .choices import compact_name
from .diffusion import Diffusion
from .dpmpp import dpmpp, dpmpp_single
from .layouts import LayoutOptions
from .multistep import deis, lms, plms, unipc
from .onestep import (
    ddim,
    ddpm,
    dpm2,
    dpm2_ancestral,
    dpmpp_2s_ancestral,
    dpmpp_sde,
    euler,
    euler_ancestral,
    flow_ancestral,
    flow_heun,
    heun,
    lcm,
    tcd,
)
from .path import Levels, Path
from .table import Table

Layout = Callable[[Diffusion, LayoutOptions], Path]
Solve = Callable[..., Table]


@dataclass(frozen=True, slots=True)
class Sampler:
    """One row of the table of samplers."""

    solve: Solve
    layout: Layout
    """The path on a diffusion."""
    flow_layout: Layout | None = None
    """The path on a flow; None if this sampler can't sample flows."""
    flow_solve: Solve | None = None
    """The formula on a flow, if it differs."""
    settings: tuple[str, ...] = ()
    """Arguments of `solve` that a model's scheduler_config.json may set."""
    takes_schedule: bool = True
    """Whether a schedule can be chosen for a diffusion. For a flow it always can."""
    edm: bool = False
    """Whether it can sample EDM models."""
    trigflow: bool = False
    """Whether it can sample TrigFlow models."""
    distilled: bool = False
    """Whether a diffusion is called at its distilled timesteps; their number limits the steps."""
    eta: float | None = None
    """The default share of fresh noise; None if it can't be chosen."""
    aliases: tuple[str, ...] = ()
    """Compact names of diffusers' classes and other programs, without a leading `k` or a trailing `scheduler`."""


def _dpmpp_row(solve: Solve, *aliases: str) -> Sampler:
    """Return a row of DPM-Solver++ multistep."""
    settings = ("heun", "lower_order_final", "euler_at_final")
    return Sampler(
        solve, layouts.lambda_layout, layouts.flow_lambda_layout, settings=settings, edm=True, aliases=aliases
    )


def _dpmpp_single_row(order: int, *aliases: str) -> Sampler:
    """Return a row of DPM-Solver++ singlestep."""
    return Sampler(
        partial(dpmpp_single, order=order),
        layouts.singlestep_layout,
        layouts.flow_lambda_layout,
        settings=("heun", "lower_order_final"),
        edm=True,
        aliases=aliases,
    )


SAMPLERS: dict[str, Sampler] = {
    "ddim": Sampler(ddim, layouts.ddim_layout, takes_schedule=False, eta=0.0, aliases=("ddimparallel",)),
    "ddpm": Sampler(ddpm, layouts.ddpm_layout, takes_schedule=False, aliases=("ddpmparallel",)),
    "plms": Sampler(plms, layouts.pndm_layout, takes_schedule=False, aliases=("pndm",)),
    "lcm": Sampler(
        lcm,
        layouts.lcm_layout,
        layouts.flow_layout,
        settings=("timestep_scaling",),
        takes_schedule=False,
        distilled=True,
        trigflow=True,
        aliases=("flowmatchlcm", "scm"),
    ),
    "tcd": Sampler(tcd, layouts.tcd_layout, takes_schedule=False, distilled=True, eta=0.0),
    "euler": Sampler(
        euler,
        layouts.euler_layout,
        layouts.flow_layout,
        edm=True,
        aliases=("floweuler", "eulerdiscrete", "flowmatcheulerdiscrete", "edmeuler"),
    ),
    "euler_ancestral": Sampler(
        euler_ancestral,
        layouts.euler_layout,
        layouts.flow_layout,
        flow_ancestral,
        edm=True,
        aliases=("eulera", "eulerancestraldiscrete", "ltxeulerancestralrf"),
    ),
    "heun": Sampler(
        heun,
        layouts.euler_layout,
        layouts.flow_layout,
        flow_heun,
        edm=True,
        aliases=("flowheun", "heundiscrete", "flowmatchheundiscrete"),
    ),
    "lms": Sampler(lms, layouts.euler_layout, edm=True, aliases=("lmsdiscrete",)),
    "dpm2": Sampler(dpm2, layouts.dpm2_layout, edm=True, aliases=("dpm2discrete",)),
    "dpm2_ancestral": Sampler(
        dpm2_ancestral, layouts.dpm2_layout, edm=True, aliases=("dpm2a", "dpm2ancestraldiscrete")
    ),
    "dpmpp_1s": _dpmpp_row(partial(dpmpp, order=1), "dpmpp1m"),
    "dpmpp_2s": _dpmpp_single_row(2, "dpmsolversinglestep"),
    "dpmpp_3s": _dpmpp_single_row(3),
    "dpmpp_2s_ancestral": Sampler(dpmpp_2s_ancestral, layouts.euler_layout, edm=True, aliases=("dpmpp2sa",)),
    "dpmpp_2m": _dpmpp_row(partial(dpmpp, order=2), "dpmsolvermultistep", "dpmsolver", "edmdpmsolvermultistep"),
    "dpmpp_3m": _dpmpp_row(partial(dpmpp, order=3)),
    "dpmpp_sde": Sampler(dpmpp_sde, layouts.euler_layout, edm=True, aliases=("dpmsolversde", "dpmpp2ssde")),
    "dpmpp_2m_sde": _dpmpp_row(partial(dpmpp, order=2, sde=True)),
    "dpmpp_3m_sde": _dpmpp_row(partial(dpmpp, order=3, sde=True)),
    "deis": Sampler(
        deis,
        layouts.deis_layout,
        layouts.flow_lambda_layout,
        settings=("order", "lower_order_final"),
        aliases=("deismultistep",),
    ),
    "unipc": Sampler(
        unipc,
        layouts.lambda_layout,
        layouts.flow_unipc_layout,
        settings=("order", "bh1", "lower_order_final", "disable_corrector"),
        aliases=("unipcmultistep",),
    ),
}

_NAMES = {known: name for name, row in SAMPLERS.items() for known in (compact_name(name), *row.aliases)}


def sampler_name(typed: str) -> str | None:
    """Return the name in `SAMPLERS` for a name as typed, or None."""
    name = compact_name(typed).removesuffix("scheduler")
    return _NAMES.get(name) or _NAMES.get(name.removeprefix("k"))


def samplers_for(diffusion: Diffusion) -> list[str]:
    """Return the names of the samplers that can sample this model, sorted."""
    return sorted(name for name, row in SAMPLERS.items() if layout_for(row, diffusion))


def fixed_samplers(diffusion: Diffusion) -> list[str]:
    """Return the names of the model's samplers with fixed timesteps, whose schedule is `normal`, sorted."""
    return [] if diffusion.flow else [name for name in samplers_for(diffusion) if not SAMPLERS[name].takes_schedule]


def layout_for(row: Sampler, diffusion: Diffusion) -> Layout | None:
    """Return the path of a sampler on this model; None if it cannot sample it."""
    match diffusion.levels:
        case Levels.EDM:
            return layouts.edm_layout if row.edm else None
        case Levels.TRIGFLOW:
            return layouts.trigflow_layout if row.trigflow else None
    return row.flow_layout if diffusion.flow else row.layout
