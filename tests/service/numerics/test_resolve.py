"""Choosing a sampler: names as people write them, what goes with what, and how it is told that something does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.numerics.configs import DIFFUSION, FLOW, KARRAS, ZERO_SNR
from tintype.service.numerics import (
    SAMPLERS,
    Diffusion,
    Incompatible,
    InvalidChoice,
    OutOfRange,
    UnknownName,
    make_table,
    resolve,
    samplers_for,
)


def test_the_built_in_models_own_way() -> None:
    """Its configuration means deterministic DDIM from timestep 999 and zero signal to a clean image."""
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
def test_names_as_people_write_them(typed: str, name: str, schedule: str) -> None:
    """The names of other programs mean the same here."""
    assert resolve(DIFFUSION, typed) == (name, schedule)


def test_aliases_are_plain_and_unambiguous() -> None:
    """No alias hides a sampler or another alias, and each can be typed."""
    aliases = [alias for row in SAMPLERS.values() for alias in row.aliases]
    assert len({*aliases, *SAMPLERS}) == len(aliases) + len(SAMPLERS)
    for name, row in SAMPLERS.items():
        typed = [form for known in (name, *row.aliases) for form in (known, f"K-{known.upper()}", f"{known}Scheduler")]
        assert {resolve(DIFFUSION, form)[0] for form in typed} == {name}


def test_the_models_schedule_is_kept() -> None:
    """A model that wants Karras' levels gets them with another sampler too, unless asked otherwise or impossible."""
    assert resolve(KARRAS) == ("euler", "karras")
    assert resolve(KARRAS, "dpmpp_2m") == ("dpmpp_2m", "karras")
    assert resolve(KARRAS, "dpmpp_2m", "normal") == ("dpmpp_2m", "normal")
    assert resolve(KARRAS, "dpmpp_2m exponential") == ("dpmpp_2m", "exponential")
    assert resolve(KARRAS, "ddim") == ("ddim", "normal")


def test_samplers_for_flows() -> None:
    """Flows are sampled by what can: each of them makes a table, and the rest say so."""
    able = samplers_for(FLOW)
    single = ["dpmpp_1s", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2s", "dpmpp_3m", "dpmpp_3m_sde", "dpmpp_3s"]
    assert able == ["deis", *single, "euler", "euler_ancestral", "heun", "lcm", "unipc"]
    assert samplers_for(DIFFUSION) == sorted(SAMPLERS)
    for name in SAMPLERS.keys() - set(able):
        with pytest.raises(Incompatible, match=r"can't sample a flow model; deis, dpmpp_1s, .*, unipc can"):
            make_table(FLOW, 10, sampler=name)


ERRORS = [
    (DIFFUSION, {"sampler": "eulr"}, UnknownName, "sampler", "did you mean 'euler'"),
    (DIFFUSION, {"sampler": "euler nonsense"}, UnknownName, "sampler", "known are ddim, "),
    (DIFFUSION, {"sampler": ""}, UnknownName, "sampler", "known are"),
    (DIFFUSION, {"sampler": "karras"}, UnknownName, "sampler", "known are"),
    (DIFFUSION, {"sampler": "euler", "schedule": "karas"}, UnknownName, "schedule", "did you mean 'karras'"),
    (DIFFUSION, {"sampler": "ddim", "schedule": "karras"}, Incompatible, "schedule", "does not go with ddim"),
    (DIFFUSION, {"sampler": "euler karras", "schedule": "beta"}, Incompatible, "schedule", "contradicts"),
    (DIFFUSION, {"sampler": "tcd", "schedule": "beta"}, Incompatible, "schedule", "deis, dpm2, .*, unipc take it"),
    (DIFFUSION, {"sampler": "euler", "eta": 0.5}, Incompatible, "eta", "is for ddim and tcd only; euler has none"),
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
    """A choice that can't be is refused by its field's name, and told what would do."""
    with pytest.raises(kind, match=message) as caught:
        make_table(diffusion, **{"steps": 10, **choices})  # type: ignore[arg-type]
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field} ")
    assert isinstance(caught.value, ValueError)


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=30))
def test_any_text_is_a_name_or_an_error(typed: str) -> None:
    """Whatever is typed, the answer is a sampler or an error of ours."""
    try:
        assert resolve(DIFFUSION, typed)[0] in SAMPLERS
    except UnknownName as error:
        assert error.field == "sampler"  # noqa: PT017 - both outcomes are right
