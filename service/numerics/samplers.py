"""The samplers by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import layouts
from .choices import compact_name
from .diffusion import Diffusion
from .dpmpp import dpmpp, dpmpp_single
from .layouts import Plan
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
from .path import Path
from .table import Table

Layout = Callable[[Diffusion, Plan], Path]
Solve = Callable[..., Table]


@dataclass(frozen=True, slots=True)
class Sampler:
    """One row of the table of samplers."""

    solve: Solve
    layout: Layout
    """Where a diffusion is called."""
    flow_layout: Layout | None = None
    """Where a flow is called; None if it can't sample one."""
    flow_solve: Solve | None = None
    """The rule on a flow, where it is another one."""
    settings: tuple[str, ...] = ()
    """What a model's own configuration may tell it."""
    stochastic: bool = False
    takes_schedule: bool = True
    """Whether the noise levels of a diffusion are free to choose; those of a flow are."""
    distilled: bool = False
    """Whether a diffusion is called at the levels of a distillation, and takes no more steps than it has."""
    eta: float | None = None
    """The usual share of fresh noise, where that can be chosen."""
    aliases: tuple[str, ...] = ()
    """Other names, squashed, without `k` before and `scheduler` behind: of diffusers' classes and other programs."""


def _lambda(solve: Solve, *aliases: str, stochastic: bool = False) -> Sampler:
    """Return a row of DPM-Solver++ multistep."""
    settings = ("heun", "lower_order_final", "euler_at_final")
    return Sampler(
        solve,
        layouts.lambda_layout,
        layouts.flow_lambda_layout,
        settings=settings,
        stochastic=stochastic,
        aliases=aliases,
    )


def _single(order: int, *aliases: str) -> Sampler:
    """Return a row of DPM-Solver++ singlestep."""
    return Sampler(
        partial(dpmpp_single, order=order),
        layouts.singlestep_layout,
        layouts.flow_lambda_layout,
        settings=("heun", "lower_order_final"),
        aliases=aliases,
    )


SAMPLERS: dict[str, Sampler] = {
    "ddim": Sampler(ddim, layouts.ddim_layout, takes_schedule=False, eta=0.0, aliases=("ddimparallel",)),
    "ddpm": Sampler(ddpm, layouts.ddpm_layout, stochastic=True, takes_schedule=False, aliases=("ddpmparallel",)),
    "plms": Sampler(plms, layouts.pndm_layout, takes_schedule=False, aliases=("pndm",)),
    "lcm": Sampler(
        lcm,
        layouts.lcm_layout,
        layouts.flow_layout,
        settings=("timestep_scaling",),
        stochastic=True,
        takes_schedule=False,
        distilled=True,
        aliases=("flowmatchlcm",),
    ),
    "tcd": Sampler(tcd, layouts.tcd_layout, takes_schedule=False, distilled=True, eta=0.0),
    "euler": Sampler(
        euler,
        layouts.euler_layout,
        layouts.flow_layout,
        aliases=("floweuler", "eulerdiscrete", "flowmatcheulerdiscrete"),
    ),
    "euler_ancestral": Sampler(
        euler_ancestral,
        layouts.euler_layout,
        layouts.flow_layout,
        flow_ancestral,
        stochastic=True,
        aliases=("eulera", "eulerancestraldiscrete", "ltxeulerancestralrf"),
    ),
    "heun": Sampler(
        heun,
        layouts.euler_layout,
        layouts.flow_layout,
        flow_heun,
        aliases=("flowheun", "heundiscrete", "flowmatchheundiscrete"),
    ),
    "lms": Sampler(lms, layouts.euler_layout, aliases=("lmsdiscrete",)),
    "dpm2": Sampler(dpm2, layouts.dpm2_layout, aliases=("dpm2discrete",)),
    "dpm2_ancestral": Sampler(
        dpm2_ancestral, layouts.dpm2_layout, stochastic=True, aliases=("dpm2a", "dpm2ancestraldiscrete")
    ),
    "dpmpp_1s": _lambda(partial(dpmpp, order=1), "dpmpp1m"),
    "dpmpp_2s": _single(2, "dpmsolversinglestep"),
    "dpmpp_3s": _single(3),
    "dpmpp_2s_ancestral": Sampler(dpmpp_2s_ancestral, layouts.euler_layout, stochastic=True, aliases=("dpmpp2sa",)),
    "dpmpp_2m": _lambda(partial(dpmpp, order=2), "dpmsolvermultistep", "dpmsolver"),
    "dpmpp_3m": _lambda(partial(dpmpp, order=3)),
    "dpmpp_sde": Sampler(dpmpp_sde, layouts.euler_layout, stochastic=True, aliases=("dpmsolversde", "dpmpp2ssde")),
    "dpmpp_2m_sde": _lambda(partial(dpmpp, order=2, sde=True), stochastic=True),
    "dpmpp_3m_sde": _lambda(partial(dpmpp, order=3, sde=True), stochastic=True),
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
    """Return the table's name for what somebody typed, or None."""
    name = compact_name(typed).removesuffix("scheduler")
    return _NAMES.get(name) or _NAMES.get(name.removeprefix("k"))


def samplers_for(diffusion: Diffusion) -> list[str]:
    """Return the names of the samplers that can sample this model, sorted."""
    return sorted(name for name, row in SAMPLERS.items() if row.flow_layout or not diffusion.flow)
