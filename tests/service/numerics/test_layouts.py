"""Layouts: the levels and timesteps at which a run calls the model."""

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


def test_a_family_can_define_the_levels_of_a_flow() -> None:
    """A family can define the levels: FLUX.1 schnell in four steps."""
    flow = Diffusion.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0})
    table = make_table(flow, 4, sigmas=np.linspace(1, 1 / 4, 4))
    assert table.timesteps.tolist() == [1000, 750, 500, 250]
    assert table.sigmas.tolist() == [1, 0.75, 0.5, 0.25, 0]


def test_a_dynamic_shift_depends_on_the_image_size() -> None:
    """FLUX.1 dev: more image tokens move steps to higher noise; without the size, make_table raises Incompatible."""
    flow = Diffusion.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True})
    small, large = (make_table(flow, 10, image_tokens=n) for n in (256, 4096))
    assert (large.sigmas[1:-1] > small.sigmas[1:-1]).all()
    assert large.sigmas[5] / (1 - large.sigmas[5]) == pytest.approx(
        small.sigmas[5] / (1 - small.sigmas[5]) * np.exp(1.15 - 0.5)
    )
    with pytest.raises(Incompatible, match="image size"):
        make_table(flow, 10)


def test_simple_and_sgm_uniform_are_comfyuis() -> None:
    """`simple` takes every n-th trained level from the highest; `sgm_uniform` takes n + 1 steps without the last."""
    assert make_table(DIFFUSION, 3, sampler="euler", schedule="simple").timesteps.tolist() == [999, 666, 333]
    uniform = make_table(DIFFUSION, 3, sampler="euler", schedule="sgm_uniform").timesteps
    np.testing.assert_allclose(uniform, [999, 666, 333], rtol=1e-6)
    flow = Diffusion.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0})
    assert make_table(flow, 4, sampler="euler", schedule="simple").sigmas.tolist() == [1, 0.75, 0.5, 0.25, 0]


@pytest.mark.parametrize("name", samplers_for(FLOW))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_flow_sampler_takes_every_schedule(name: str, schedule: str) -> None:
    """Every flow sampler takes every schedule and ends at zero noise, even with one step."""
    for steps in (1, 9):
        table = make_table(FLOW, steps, sampler=name, schedule=schedule)
        assert (np.diff(table.sigmas) <= 0).all()
        assert table.sigmas[-1] == 0
        assert table.timesteps[0] > 990


def test_spacing_defaults_to_the_samplers_class() -> None:
    """Without a spacing in the file (Stable Diffusion 1.5), each sampler uses the default of its diffusers class."""
    assert make_table(read(SD15), 20, sampler="dpmpp_2m").timesteps[0] == 999
    assert make_table(read(SD15, timestep_spacing="leading"), 20, sampler="dpmpp_2m").timesteps[0] == 941
    assert make_table(read(SD15), 20, sampler="ddim").timesteps[0] == 951


def test_a_large_steps_offset_rejects_the_number_of_steps() -> None:
    """A large steps_offset rejects the request's number of steps, not the model: other numbers fit."""
    diffusion = read(SD15, timestep_spacing="leading", steps_offset=30)
    assert make_table(diffusion, 20).timesteps[0] == 980
    with pytest.raises(OutOfRange, match="exceed timestep 999: the model's steps_offset is 30") as caught:
        make_table(diffusion, 50)
    assert caught.value.field == "steps"


def test_initial_noise_of_euler_has_the_highest_level() -> None:
    """The initial noise has the highest level's deviation, or 1 if the spacing leaves out that level."""
    euler = {"_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear"}
    table = make_table(read(euler), 10)
    assert table.init == table.sigmas[0] < 1
    assert make_table(read(euler, timestep_spacing="leading"), 10).init == 1


def test_euler_may_end_above_zero_noise() -> None:
    """A run that ends above zero returns k-diffusion's result: unscaled x0 plus that level's noise."""
    table = make_table(read({"_class_name": "EulerDiscreteScheduler", "final_sigmas_type": "sigma_min"}), 10)
    assert table.alphas[-1] == 1
    assert 0 < table.sigmas[-1] < 0.02


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(0, 29), st.sampled_from(sorted(SAMPLERS)))
def test_start_leaves_out_the_noisy_end(steps: int, start: int, sampler: str) -> None:
    """With `start`, the model is called at the last points of the full run, and no missing history is read."""
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
