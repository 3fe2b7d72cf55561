"""Choosing a sampler: spellings of names, valid combinations, and the errors for invalid ones."""

import itertools
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.numerics.configs import DIFFUSION, FLOW, KARRAS, ZERO_SNR
from tintype.service.numerics import (
    SAMPLERS,
    SCHEDULES,
    Diffusion,
    Incompatible,
    InvalidChoice,
    OutOfRange,
    UnknownName,
    fixed_samplers,
    make_table,
    resolve,
    samplers_for,
)


def test_the_built_in_model_is_sampled_by_ddim() -> None:
    """The built-in model is sampled by deterministic DDIM, from timestep 999 and zero signal to zero noise."""
    table = make_table(ZERO_SNR, 20)
    assert resolve(ZERO_SNR) == ("ddim", "normal")
    assert table.timesteps.tolist() == list(range(999, 0, -50))
    assert (table.alphas[0], table.sigmas[0], table.init) == (0, 1, 1)
    assert (table.alphas[-1], table.sigmas[-1]) == (1, 0)
    assert not table.stochastic


@pytest.mark.parametrize(
    ("typed", "name", "schedule"),
    [
        ("Euler a", "euler_ancestral", "normal"),
        ("DPM++ 2M", "dpmpp_2m", "normal"),
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"),
        ("DPM++ 2M SDE Karras", "dpmpp_2m_sde", "karras"),
        ("DPM++ 3M SDE Exponential", "dpmpp_3m_sde", "exponential"),
        ("K_EULER_ANCESTRAL", "euler_ancestral", "normal"),
        ("k-lms", "lms", "normal"),
        ("LMS Karras", "lms", "karras"),
        ("UniPCMultistepScheduler", "unipc", "normal"),
        ("PNDM", "plms", "normal"),
        ("DDIM", "ddim", "normal"),
        ("DPM++ SDE Karras", "dpmpp_sde", "karras"),
        ("DPM++ 2S a Karras", "dpmpp_2s_ancestral", "karras"),
        ("DPM2 a", "dpm2_ancestral", "normal"),
        ("k_dpm_2_a", "dpm2_ancestral", "normal"),
        ("dpm_2", "dpm2", "normal"),
        ("KDPM2DiscreteScheduler", "dpm2", "normal"),
        ("DPM++2M", "dpmpp_2m", "normal"),
        ("dpmpp2m sgm uniform", "dpmpp_2m", "sgm_uniform"),
        ("euler simple", "euler", "simple"),
        ("uni-pc", "unipc", "normal"),
        ("TCD", "tcd", "normal"),
        ("DPMSolverSinglestepScheduler", "dpmpp_2s", "normal"),
    ],
)
def test_spellings_of_other_programs(typed: str, name: str, schedule: str) -> None:
    """Other programs' names for a sampler and a schedule are understood."""
    assert resolve(DIFFUSION, typed) == (name, schedule)


def test_aliases_are_unambiguous() -> None:
    """No alias hides a sampler or another alias, and each one resolves."""
    aliases = [alias for row in SAMPLERS.values() for alias in row.aliases]
    assert len({*aliases, *SAMPLERS}) == len(aliases) + len(SAMPLERS)
    for name, row in SAMPLERS.items():
        typed = [form for known in (name, *row.aliases) for form in (known, f"K-{known.upper()}", f"{known}Scheduler")]
        assert {resolve(DIFFUSION, form)[0] for form in typed} == {name}


def test_the_models_schedule_is_kept() -> None:
    """A model's Karras schedule also applies to another sampler, unless the request or the sampler excludes it."""
    assert resolve(KARRAS) == ("euler", "karras")
    assert resolve(KARRAS, "dpmpp_2m") == ("dpmpp_2m", "karras")
    assert resolve(KARRAS, "dpmpp_2m", "normal") == ("dpmpp_2m", "normal")
    assert resolve(KARRAS, "dpmpp_2m exponential") == ("dpmpp_2m", "exponential")
    assert resolve(KARRAS, "ddim") == ("ddim", "normal")


def test_samplers_for_lists_the_samplers_of_flows() -> None:
    """`samplers_for` lists the samplers for flows; the others raise Incompatible with that list."""
    able = samplers_for(FLOW)
    single = ["dpmpp_1s", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2s", "dpmpp_3m", "dpmpp_3m_sde", "dpmpp_3s"]
    assert able == ["deis", *single, "euler", "euler_ancestral", "heun", "lcm", "unipc"]
    assert samplers_for(DIFFUSION) == sorted(SAMPLERS)
    for name in SAMPLERS.keys() - set(able):
        with pytest.raises(Incompatible, match=r"can't sample this kind of model; use one of deis, .*, unipc"):
            make_table(FLOW, 10, sampler=name)


@pytest.mark.parametrize("diffusion", [DIFFUSION, KARRAS, ZERO_SNR, FLOW])
def test_fixed_samplers_are_those_without_a_schedule(diffusion: Diffusion) -> None:
    """All samplers take all schedules, except those of `fixed_samplers`, which take only `normal`."""
    fixed = set(itertools.product(fixed_samplers(diffusion), SCHEDULES.keys() - {"normal"}))
    for sampler, schedule in itertools.product(samplers_for(diffusion), SCHEDULES):
        refuses = (
            pytest.raises(Incompatible, match="fixed timesteps") if (sampler, schedule) in fixed else nullcontext()
        )
        with refuses:
            make_table(diffusion, 10, sampler=sampler, schedule=schedule)


ERRORS = [
    (DIFFUSION, {"sampler": "eulr"}, UnknownName, "sampler", "did you mean 'euler'"),
    (DIFFUSION, {"sampler": "euler nonsense"}, UnknownName, "sampler", "nown names: ddim, "),
    (DIFFUSION, {"sampler": ""}, UnknownName, "sampler", "nown names: ddim"),
    (DIFFUSION, {"sampler": "karras"}, UnknownName, "sampler", "nown names: ddim"),
    (DIFFUSION, {"sampler": "euler", "schedule": "karas"}, UnknownName, "schedule", "did you mean 'karras'"),
    (DIFFUSION, {"sampler": "ddim", "schedule": "karras"}, Incompatible, "schedule", "can't be used with ddim"),
    (DIFFUSION, {"sampler": "euler karras", "schedule": "beta"}, Incompatible, "schedule", "contradicts"),
    (
        DIFFUSION,
        {"sampler": "tcd", "schedule": "beta"},
        Incompatible,
        "schedule",
        "samplers that take it: deis, dpm2, .*, unipc",
    ),
    (
        DIFFUSION,
        {"sampler": "euler", "eta": 0.5},
        Incompatible,
        "eta",
        "can only be set for ddim and tcd, not for euler",
    ),
    (DIFFUSION, {"sampler": "ddim", "eta": 1.5}, OutOfRange, "eta", "0 to 1"),
    (DIFFUSION, {"sampler": "ddim", "eta": float("nan")}, OutOfRange, "eta", "0 to 1"),
    (DIFFUSION, {"steps": 0}, OutOfRange, "steps", "1 to 1000"),
    (DIFFUSION, {"steps": 1001}, OutOfRange, "steps", "1 to 1000"),
    (DIFFUSION, {"sampler": "tcd", "steps": 51}, OutOfRange, "steps", "1 to 50"),
    (DIFFUSION, {"sampler": "lcm", "steps": 51}, OutOfRange, "steps", "1 to 50"),
    (DIFFUSION, {"start": 10}, OutOfRange, "start", "0 to 9"),
    (DIFFUSION, {"sigmas": np.linspace(1, 0.1, 10)}, Incompatible, "sigmas", "flow"),
    (FLOW, {"sigmas": np.linspace(1, 0.1, 9)}, OutOfRange, "sigmas", "10"),
]


@pytest.mark.parametrize(("diffusion", "choices", "kind", "field", "message"), ERRORS)
def test_errors_name_the_field_and_what_is_right(
    diffusion: Diffusion, choices: dict[str, object], kind: type[InvalidChoice], field: str, message: str
) -> None:
    """An invalid choice raises an error that names the field, the value and what would be right."""
    with pytest.raises(kind, match=message) as caught:
        make_table(diffusion, **{"steps": 10, **choices})  # type: ignore[arg-type]
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field} ")
    assert isinstance(caught.value, ValueError)


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=30))
def test_any_text_is_a_sampler_or_unknown(typed: str) -> None:
    """Any text resolves to a sampler or raises UnknownName."""
    try:
        assert resolve(DIFFUSION, typed)[0] in SAMPLERS
    except UnknownName as error:
        assert error.field == "sampler"  # noqa: PT017 - both outcomes are valid
