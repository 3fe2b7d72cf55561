"""For every file, request and number of steps, make_table returns finite coefficients or raises InvalidChoice."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.numerics.configs import SD, read
from tintype.service.numerics import SAMPLERS, SCHEDULES, Diffusion, InvalidChoice, InvalidSetting, make_table

SOLVERS = ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler")

PROCESSES: list[dict[str, Any]] = [
    {},
    {"prediction_type": "v_prediction"},
    {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"},
    {"num_train_timesteps": 10},
    {"num_train_timesteps": 1},
    {"trained_betas": [0.5, 0.5], "num_train_timesteps": 2},
]


@pytest.mark.parametrize("solver", [{"solver_order": 3}, {"solver_type": "heun"}, {"solver_type": "bh1"}, {}])
@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("flag", ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"])
def test_a_last_step_between_equal_levels_changes_nothing(name: str, flag: str, solver: dict[str, Any]) -> None:
    """A last step between equal levels changes nothing; diffusers divides 0 by 0 there."""
    config = {"_class_name": name, **SD, flag: True, "final_sigmas_type": "sigma_min", "lower_order_final": False}
    diffusion = read(config, **solver)
    for steps in (1, 2, 3, 4, 5, 20):
        table = make_table(diffusion, steps)
        assert table.sigmas[-1] > 0


@pytest.mark.parametrize("name", ["DEISMultistepScheduler", "UniPCMultistepScheduler"])
def test_repeated_levels_are_rejected(name: str) -> None:
    """Levels that repeat after rounding to trained timesteps have no third-order weights: InvalidChoice."""
    diffusion = read({"_class_name": name, **SD}, num_train_timesteps=20, solver_order=3, lower_order_final=False)
    with pytest.raises(InvalidChoice, match="has no finite weights for this model in 20 steps") as caught:
        make_table(diffusion, 20)
    _check_field(caught.value)


def choices_of_a_request() -> st.SearchStrategy[dict[str, Any]]:
    """Return the choices of a request, incompatible ones included."""
    return st.fixed_dictionaries(
        {
            "sampler": st.none() | st.sampled_from(sorted(SAMPLERS)),
            "schedule": st.none() | st.sampled_from(sorted(SCHEDULES)),
            "eta": st.none() | st.floats(0, 1),
            "image_tokens": st.sampled_from([1, 1024]),
        }
    )


def _check_field(error: InvalidChoice) -> None:
    """Assert that the error names a field of a request."""
    assert error.field in {"steps", "sampler", "schedule", "eta"}


@settings(deadline=None, max_examples=400)
@given(
    process=st.sampled_from(PROCESSES),
    choices=choices_of_a_request(),
    steps=st.integers(1, 5) | st.sampled_from([10, 50, 150]),
    start=st.integers(0, 4),
    rest=st.fixed_dictionaries(
        {
            "final_sigmas_type": st.sampled_from(["zero", "sigma_min"]),
            "sigma_min": st.none() | st.floats(1e-6, 200),
            "sigma_max": st.none() | st.floats(1e-6, 200),
            "solver_order": st.integers(1, 3),
            "solver_type": st.sampled_from(["midpoint", "heun", "bh1"]),
            "lower_order_final": st.booleans(),
            "steps_offset": st.sampled_from([0, 1, 500]),
            "original_inference_steps": st.sampled_from([1, 20, 50]),
            "use_karras_sigmas": st.booleans(),
        }
    ),
    name=st.sampled_from(["UniPCMultistepScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"]),
)
def test_every_choice_is_finite_or_rejected(
    process: dict[str, Any],
    choices: dict[str, Any],
    steps: int,
    start: int,
    rest: dict[str, Any],
    name: str,
) -> None:
    """Every file and request gives finite numbers or an InvalidChoice that names a field."""
    try:
        diffusion = Diffusion.from_config({"_class_name": name, **SD, **process, **rest})
    except InvalidSetting:
        return
    try:
        table = make_table(diffusion, steps, start=min(start, steps - 1), **choices)
    except InvalidChoice as error:
        _check_field(error)
        return
    assert np.isfinite(table.timesteps).all()


@settings(deadline=None, max_examples=200)
@given(
    choices=choices_of_a_request(),
    steps=st.integers(1, 5) | st.sampled_from([10, 50, 150]),
    start=st.integers(0, 4),
    shift=st.sampled_from([1e-3, 1.0, 3.0, 1e3]),
    terminal=st.none() | st.sampled_from([0.1, 0.999]),
    dynamic=st.booleans(),
    train=st.sampled_from([1000, 10, 1]),
)
def test_every_choice_on_a_flow_is_finite_or_rejected(
    choices: dict[str, Any],
    steps: int,
    start: int,
    shift: float,
    terminal: float | None,
    dynamic: bool,  # noqa: FBT001
    train: int,
) -> None:
    """Every file and request of a flow, with any shift, gives finite numbers or an InvalidChoice."""
    name = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
    flow = read(name, shift=shift, shift_terminal=terminal, use_dynamic_shifting=dynamic, num_train_timesteps=train)
    try:
        make_table(flow, steps, start=min(start, steps - 1), **choices)
    except InvalidChoice as error:
        _check_field(error)
