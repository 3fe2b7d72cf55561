"""Steps, strengths and tables of a plan."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.engine.exact import SPEC, spec
from tintype.service.engine.plan import plan
from tintype.service.engine.sampling import count_steps
from tintype.service.errors import InvalidField
from tintype.service.images.upload import Source
from tintype.service.job import Job
from tintype.service.numerics import Diffusion

SOURCE = Source(np.zeros((3, 64, 64), np.uint8))


@pytest.mark.parametrize(
    ("steps", "strength", "calls"),
    [
        (10, 1.0, 10),
        (10, None, 8),
        (10, 0.75, 7),
        (10, 0.7, 7),
        (10, 0.0, 0),
        (50, 0.58, 28),
    ],
)
def test_strength_is_the_share_of_steps_that_run(steps: int, strength: float | None, calls: int) -> None:
    """Rounded down as in diffusers, in the arithmetic of Python's floats; 0.58 of 50 are 28."""
    made = plan(Job(prompt="a", steps=steps, strength=strength, source=SOURCE), SPEC)
    assert (made.calls, made.steps, made.skipped) == (calls, steps, steps - calls)
    assert made.strength == (0.8 if strength is None else strength)
    if calls:
        assert made.table.timesteps[-1] == plan(Job(prompt="a", steps=steps), SPEC).table.timesteps[-1]


@pytest.mark.parametrize(("steps", "strength", "calls"), [(10, 1.0, 10), (10, 0.75, 8), (50, 0.58, 29), (8, 0.6, 5)])
def test_strength_of_a_flow_rounds_up(steps: int, strength: float, calls: int) -> None:
    """As in diffusers, in the arithmetic of Python's floats: 50 * 0.58 is a little less than 29."""
    flow = Diffusion.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
    defaults = replace(SPEC.defaults, sampler="euler")
    made = plan(Job(prompt="a", steps=steps, strength=strength, source=SOURCE), spec(diffusion=flow, defaults=defaults))
    assert made.calls == calls


@pytest.mark.parametrize(
    ("steps", "strength", "laid_out"),
    [(1, 0.9, 2), (1, 0.5, 2), (1, 0.3333333, 4), (3, 0.3, 4), (10, 0.09, 12), (1, 1 / 49, 50), (1, 1e-30, 150)],
)
def test_one_step_runs_unless_the_strength_is_0(steps: int, strength: float, laid_out: int) -> None:
    """A strength of less than one step runs one, at its level: rounding never returns the source."""
    for named in (Job(prompt="a", steps=steps, strength=strength, source=SOURCE), None):
        job = named or Job(prompt="a", strength=strength, source=SOURCE)
        made = plan(job, spec(defaults=replace(SPEC.defaults, steps=steps)))
        assert (made.calls, made.steps, made.skipped) == (1, laid_out, laid_out - 1)
        assert made.table.timesteps[0] <= max(strength, 1 / 150) * 1000
    assert plan(Job(prompt="a", steps=steps, strength=0, source=SOURCE), SPEC).calls == 0


@given(
    st.integers(1, 150),
    st.floats(0, 1, exclude_min=True) | st.integers(1, 200).map(lambda n: 1 / n),
    st.integers(1, 1000),
    st.booleans(),
)
def test_the_steps_of_a_strength(steps: int, strength: float, most: int, flow: bool) -> None:  # noqa: FBT001
    """As many steps run as in diffusers, and one where diffusers runs none; the table has at most `most`."""
    steps = min(steps, most)
    laid_out, skipped = count_steps(steps, strength, most, flow=flow)
    taken = int(steps * strength) if not flow else steps - int(steps - min(steps * strength, steps))
    assert laid_out - skipped == max(taken, 1)
    assert laid_out == steps if taken else steps <= laid_out <= most


def test_the_training_steps_bound_the_table() -> None:
    """The table has at most the steps of training or distillation, and one of them runs."""
    few = Diffusion.from_config({"_class_name": "DDIMScheduler", "clip_sample": False, "num_train_timesteps": 10})
    own = spec(diffusion=few, defaults=replace(SPEC.defaults, steps=50, sampler="ddim"))
    assert plan(Job(prompt="a"), own).steps == 10
    assert plan(Job(prompt="a", strength=0.01, source=SOURCE), own).calls == 1
    assert plan(Job(prompt="a", steps=4, strength=0.01, source=SOURCE, sampler="tcd"), SPEC).steps == 50


def test_a_distilled_model_may_take_all_steps_below_the_strength() -> None:
    """LCM's pipeline spaces the distilled levels anew over the rest; other samplers skip steps."""
    distilled = Diffusion.from_config({"_class_name": "LCMScheduler", "original_inference_steps": 50})
    own = spec(diffusion=distilled, defaults=replace(SPEC.defaults, sampler="lcm", steps=4), respaced=True)
    made = plan(Job(prompt="a", steps=4, strength=0.5, source=SOURCE), own)
    assert (made.calls, made.table.timesteps.tolist()) == (4, [499, 379, 259, 139])
    assert plan(Job(prompt="a", steps=4, strength=0.2, source=SOURCE), own).calls == 4
    assert plan(Job(prompt="a", strength=0.04, source=SOURCE), own).calls == 2
    assert plan(Job(prompt="a", strength=0.001, source=SOURCE), own).calls == 1
    assert plan(Job(prompt="a", steps=4, strength=0.5, source=SOURCE, sampler="ddim"), own).calls == 2
    assert plan(Job(prompt="a", steps=4, strength=0.0, source=SOURCE), own).calls == 0
    with pytest.raises(InvalidField, match=r"steps: must be 1 to 25, not 30: a strength of 0.5 leaves 25"):
        plan(Job(prompt="a", steps=30, strength=0.5, source=SOURCE), own)


def test_levels_of_a_flow_may_be_those_of_the_pipeline() -> None:
    """FLUX's pipeline spaces them evenly, 1 to 1/steps; the sampler alone would end at the last trained one."""
    flow = Diffusion.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler"})
    own = spec(diffusion=flow, defaults=replace(SPEC.defaults, sampler="euler"), even_levels=True)
    assert plan(Job(prompt="a", steps=4), own).table.sigmas.tolist() == [1, 0.75, 0.5, 0.25, 0]


def test_tables_are_shared() -> None:
    """Requests with the same choices share one table of coefficients."""
    assert plan(Job(prompt="a", seed=1), SPEC).table is plan(Job(prompt="b", seed=2), SPEC).table
