"""Choosing a sampler: names, what goes with what, and what every table keeps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tintype.service.numerics import (
    SAMPLERS,
    SCHEDULES,
    Diffusion,
    Incompatible,
    InvalidChoice,
    OutOfRange,
    Prediction,
    Table,
    UnknownName,
    make_table,
    resolve,
    samplers_for,
)
from tintype.service.numerics.prediction import to_denoised

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
BUILT_IN = {
    **SD,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "set_alpha_to_one": True,
}
DIFFUSION = Diffusion.from_config({"_class_name": "DDIMScheduler", "clip_sample": False, **SD})
ZERO_SNR = Diffusion.from_config({"_class_name": "DDIMScheduler", "clip_sample": False, **BUILT_IN})
FLOW = Diffusion.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
KARRAS = Diffusion.from_config({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True, **SD})


def end_of_constant(table: Table, prediction: Prediction, clean: float, noise: float) -> float:
    """Where a run ends that starts from `clean` and `noise`, and whose denoiser says `clean` whatever it sees."""
    x = float(table.alphas[0] * clean + table.sigmas[0] * noise)
    history: list[float] = []
    for i in range(len(table)):
        p, q = to_denoised(prediction, table.alphas[i : i + 1], table.sigmas[i : i + 1])
        out = (clean - p[0] * x) / q[0]
        history.insert(0, table.p[i] * x + table.q[i] * out)
        x = float(table.a[i] * x + sum(w * d for w, d in zip(table.b[i], history, strict=False)))
    return x


@settings(deadline=None)
@given(
    st.sampled_from([DIFFUSION, ZERO_SNR, FLOW]),
    st.sampled_from(sorted(SAMPLERS)),
    st.sampled_from(sorted(SCHEDULES)),
    st.integers(1, 50),
    st.floats(-3, 3),
)
def test_a_sure_denoiser_is_believed(diffusion: Diffusion, name: str, schedule: str, steps: int, clean: float) -> None:
    """If every call says the same clean image, that image comes out: the weights of every row add up.

    Where the last level is not zero (PLMS, DEIS), it comes out under as much of the first noise as that level says.
    """
    try:
        eta = 0 if name == "tcd" else None
        table = make_table(diffusion, steps, sampler=name, schedule=schedule, eta=eta)
    except Incompatible:
        return
    end = end_of_constant(table, diffusion.prediction, clean, noise=0.9)
    if name == "plms" and diffusion is ZERO_SNR:
        return  # it mixes v of several levels, as in diffusers, and so keeps no such promise
    if name == "ddim" and table.sigmas[-1]:  # its steps do not land where the next call is made unless they divide 1000
        assert end == pytest.approx(clean, abs=0.4)
    else:
        rounding = 1e-4 if name == "lcm" else 1e-6  # its skip connection adds a little of x
        assert end == pytest.approx(table.alphas[-1] * clean + table.sigmas[-1] * 0.9, abs=rounding)


@settings(deadline=None)
@given(st.sampled_from([DIFFUSION, ZERO_SNR, FLOW]), st.sampled_from(sorted(SAMPLERS)), st.integers(1, 60))
def test_levels_fall(diffusion: Diffusion, name: str, steps: int) -> None:
    """Noise never rises along a run, timesteps neither, and the model is called where it was trained."""
    if name not in samplers_for(diffusion) or (name in ("lcm", "tcd") and not diffusion.flow and steps > 50):
        return
    table = make_table(diffusion, steps, sampler=name)
    assert (np.diff(table.sigmas) <= 1e-12).all()
    assert (np.diff(table.timesteps) <= 1e-4).all()  # DPM2 finds a level's timestep in float32
    assert table.timesteps[0] <= 1000
    assert table.timesteps[-1] >= 0
    total = table.alphas + table.sigmas if diffusion.flow else table.alphas**2 + table.sigmas**2
    np.testing.assert_allclose(total, 1, atol=1e-9)


@pytest.mark.parametrize("name", ["ddim", "euler", "dpmpp_2m", "dpmpp_3m", "unipc", "euler_ancestral", "dpmpp_2m_sde"])
@pytest.mark.parametrize("steps", [1, 2, 4, 7, 20, 50])
def test_zero_snr_is_gentle(name: str, steps: int) -> None:
    """Without any signal at the start the coefficients stay of order one: nothing for float16 to overflow."""
    table = make_table(ZERO_SNR, steps, sampler=name)
    assert table.sigmas[0] == pytest.approx(1, abs=1e-6)
    for column in (table.a, table.b, table.d, table.p, table.q):
        assert np.abs(column).max() < 4


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


def test_flow_levels_of_the_family() -> None:
    """A family may give its own levels: FLUX.1 schnell in four steps."""
    flow = Diffusion.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0})
    table = make_table(flow, 4, sigmas=np.linspace(1, 1 / 4, 4))
    assert table.timesteps.tolist() == [1000, 750, 500, 250]
    assert table.sigmas.tolist() == [1, 0.75, 0.5, 0.25, 0]


def test_shift_that_depends_on_the_size() -> None:
    """FLUX.1 dev: more tokens, more of the steps at high noise; without the size there is no table."""
    flow = Diffusion.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True})
    small, large = (make_table(flow, 10, image_tokens=n) for n in (256, 4096))
    assert (large.sigmas[1:-1] > small.sigmas[1:-1]).all()
    assert large.sigmas[5] / (1 - large.sigmas[5]) == pytest.approx(
        small.sigmas[5] / (1 - small.sigmas[5]) * np.exp(1.15 - 0.5)
    )
    with pytest.raises(Incompatible, match="image's size"):
        make_table(flow, 10)


def test_new_schedules_are_comfyuis() -> None:
    """`simple` takes every n-th trained level from the highest, `sgm_uniform` one step more without the last."""
    assert make_table(DIFFUSION, 3, sampler="euler", schedule="simple").timesteps.tolist() == [999, 666, 333]
    uniform = make_table(DIFFUSION, 3, sampler="euler", schedule="sgm_uniform").timesteps
    np.testing.assert_allclose(uniform, [999, 666, 333], rtol=1e-6)
    flow = Diffusion.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0})
    assert make_table(flow, 4, sampler="euler", schedule="simple").sigmas.tolist() == [1, 0.75, 0.5, 0.25, 0]


@pytest.mark.parametrize("name", samplers_for(FLOW))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_on_a_flow(name: str, schedule: str) -> None:
    """Every sampler that can sample a flow takes every schedule, and ends without noise, from one step on."""
    for steps in (1, 9):
        table = make_table(FLOW, steps, sampler=name, schedule=schedule)
        assert (np.diff(table.sigmas) <= 0).all()
        assert table.sigmas[-1] == 0
        assert table.timesteps[0] > 990
