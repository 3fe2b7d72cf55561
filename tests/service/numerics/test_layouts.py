"""Where a run calls the model: the levels and timesteps of its steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.numerics.configs import DIFFUSION, FLOW, SD15, read
from tintype.service.numerics import (
    SAMPLERS,
    SCHEDULES,
    Diffusion,
    Incompatible,
    OutOfRange,
    make_table,
    samplers_for,
)

TWO_CALLS = ("heun", "dpm2", "dpm2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde")


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


def test_other_samplers_have_their_own_custom_where_the_file_is_silent() -> None:
    """Stable Diffusion 1.5's file names no spacing: DPM-Solver++ spreads its steps as its class in diffusers does."""
    assert make_table(read(SD15), 20, sampler="dpmpp_2m").timesteps[0] == 999
    assert make_table(read(SD15, timestep_spacing="leading"), 20, sampler="dpmpp_2m").timesteps[0] == 941
    assert make_table(read(SD15), 20, sampler="ddim").timesteps[0] == 951


def test_an_offset_beyond_the_trained_steps_refuses_the_number_of_steps() -> None:
    """Other numbers of steps leave room for the model's offset: the request's is refused, and not the model."""
    diffusion = read(SD15, timestep_spacing="leading", steps_offset=30)
    assert make_table(diffusion, 20).timesteps[0] == 980
    with pytest.raises(OutOfRange, match="beyond timestep 999, as the model's steps_offset is 30") as caught:
        make_table(diffusion, 50)
    assert caught.value.field == "steps"


def test_start_of_eulers_run() -> None:
    """Noise starts at the spread of the highest level, or of unit variance where the spacing leaves that level out."""
    euler = {"_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear"}
    table = make_table(read(euler), 10)
    assert table.init == table.sigmas[0] < 1
    assert make_table(read(euler, timestep_spacing="leading"), 10).init == 1


def test_end_of_eulers_run() -> None:
    """With a last level above zero the result is k-diffusion's: x0 plus that level's noise, x0 not scaled."""
    table = make_table(read({"_class_name": "EulerDiscreteScheduler", "final_sigmas_type": "sigma_min"}), 10)
    assert table.alphas[-1] == 1
    assert 0 < table.sigmas[-1] < 0.02


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(0, 29), st.sampled_from(sorted(SAMPLERS)))
def test_start_leaves_out_the_noisy_end(steps: int, start: int, sampler: str) -> None:
    """A late start calls the model at the last points of the full run, and reads no history that it has not got."""
    start %= steps
    full, late = (
        make_table(DIFFUSION, steps, sampler=sampler),
        make_table(DIFFUSION, steps, sampler=sampler, start=start),
    )
    left = steps - start
    if sampler in TWO_CALLS:
        assert len(late) == 2 * left - 1
        np.testing.assert_array_equal(late.timesteps, full.timesteps[2 * start :])
    elif sampler == "plms":
        assert len(late) == left + (left > 1)
        np.testing.assert_array_equal(np.unique(late.timesteps), np.unique(full.timesteps)[:left])
    else:
        np.testing.assert_array_equal(late.timesteps, full.timesteps[start:])
    assert late.alphas[-1] == full.alphas[-1]
