"""Noise schedules: the levels of a run, and the betas of training."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.numerics.configs import read
from tintype.service.numerics import SCHEDULES
from tintype.service.numerics.schedules import (
    alphas_cumprod,
    beta_quantiles,
    exponential,
    karras,
    linear_quadratic,
    normal,
)

LEVELS = np.linspace(10, 0.05, 12)


@pytest.mark.parametrize("name", SCHEDULES)
@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 60), low=st.floats(1e-3, 0.5), high=st.floats(1, 4096))
def test_levels_fall_from_high_through_low_to_zero(name: str, n: int, low: float, high: float) -> None:
    """Every schedule covers its range, falls strictly and ends in 0."""
    sigmas = SCHEDULES[name](np.linspace(high, low, n) if n > 1 else np.array([high]), low, high)
    assert len(sigmas) == n + 1
    assert sigmas[-1] == 0
    assert (np.diff(sigmas) < 0).all()
    assert sigmas[0] == pytest.approx(high, rel=1e-9)
    assert n == 1 or name == "linear_quadratic" or sigmas[-2] == pytest.approx(low, rel=1e-6)


def test_karras_is_even_in_the_seventh_root() -> None:
    """Karras' levels are evenly spaced in sigma^(1/7): Karras et al., eq. 5."""
    np.testing.assert_allclose(np.diff(karras(LEVELS, 0.03, 14.6)[:-1] ** (1 / 7), 2), 0, atol=1e-12)


def test_exponential_is_even_in_the_logarithm() -> None:
    """Each level has the same ratio to the previous one."""
    sigmas = exponential(LEVELS, 0.03, 14.6)[:-1]
    np.testing.assert_allclose(sigmas[1:] / sigmas[:-1], (0.03 / 14.6) ** (1 / 11))


def test_normal_keeps_the_models_own_levels() -> None:
    """The model's own levels are unchanged, for any range."""
    np.testing.assert_array_equal(normal(LEVELS, 1e-9, 1e9)[:-1], LEVELS)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_quantiles_of_known_beta_distributions(qs: list[float]) -> None:
    """The quantiles match the known ones of Beta(1/2, 1/2), the arcsine law, and Beta(1, 1), the uniform law."""
    q = np.array(qs)
    np.testing.assert_allclose(beta_quantiles(q, 0.5), np.sin(np.pi * q / 2) ** 2, atol=1e-12)
    np.testing.assert_allclose(beta_quantiles(q, 1.0), q, atol=1e-12)


def test_quantiles_of_the_beta_schedule_match_scipy() -> None:
    """The quantiles of Beta(0.6, 0.6) match scipy 1.17.1, stats.beta.ppf."""
    q = np.array([1e-3, 0.1, 0.25, 0.5, 0.9])
    scipy = [1.855873851745199e-05, 0.03958440558878085, 0.17568037865269498, 0.5, 0.9604155944112192]
    np.testing.assert_allclose(beta_quantiles(q, 0.6), scipy, rtol=1e-9)


def test_linear_quadratic_is_linear_then_a_parabola() -> None:
    """Eight steps: four of 0.00625, then a parabola to 0. test_against_diffusers compares the values."""
    sigmas = linear_quadratic(np.zeros(8), 0.0, 2.0) / 2
    np.testing.assert_allclose(np.diff(sigmas)[:3], -0.00625)
    np.testing.assert_allclose(np.diff(sigmas, 3)[4:], 0, atol=1e-12)
    assert sigmas[4] == pytest.approx(0.975)


def test_zero_terminal_snr_ends_at_zero_signal() -> None:
    """Rescaled betas keep the first level and end at zero signal: Lin et al. 2305.08891, alg. 1."""
    betas = np.linspace(0.001, 0.02, 1000, dtype=np.float32)
    before, after = alphas_cumprod(betas), alphas_cumprod(betas, zero_snr=True)
    assert after[-1] == 0
    assert after[0] == pytest.approx(before[0], rel=1e-6)
    assert (np.diff(after) < 0).all()


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("n", [1000, 999, 50])
def test_betas_are_diffusers_bit_for_bit(schedule: str, n: int) -> None:
    """The trained levels equal torch's float32 numbers exactly."""
    diffusers = pytest.importorskip("diffusers")
    settings = {"beta_schedule": schedule, "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": n}
    theirs = diffusers.DDIMScheduler(**settings).alphas_cumprod.double().numpy()
    ours = read({"_class_name": "DDIMScheduler", "clip_sample": False}, **settings).alphas_cumprod
    np.testing.assert_array_equal(ours, theirs)
