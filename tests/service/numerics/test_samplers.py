"""Invariants of every sampler's table, for any model, schedule and number of steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.numerics.configs import DIFFUSION, FLOW, ZERO_SNR
from tintype.service.numerics import (
    SAMPLERS,
    SCHEDULES,
    Diffusion,
    Incompatible,
    Prediction,
    Table,
    make_table,
    samplers_for,
)
from tintype.service.numerics.path import to_denoised


def run_with_constant_prediction(table: Table, prediction: Prediction, clean: float, noise: float) -> float:
    """Return the end of a run from `clean` and `noise` with a denoiser that always predicts `clean`."""
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
def test_constant_prediction_is_the_result(
    diffusion: Diffusion, name: str, schedule: str, steps: int, clean: float
) -> None:
    """If every call predicts the same clean image, that image is the result: the weights of each row add up.

    If the last level is not zero (PLMS, DEIS), the result also holds that level's share of the initial noise.
    """
    try:
        eta = 0 if name == "tcd" else None
        table = make_table(diffusion, steps, sampler=name, schedule=schedule, eta=eta)
    except Incompatible:
        return
    end = run_with_constant_prediction(table, diffusion.prediction, clean, noise=0.9)
    if name == "plms" and diffusion is ZERO_SNR:
        return  # it mixes v of several levels, as in diffusers, so the rule does not hold
    if name == "ddim" and table.sigmas[-1]:  # its steps land on the next point only if they divide 1000
        assert end == pytest.approx(clean, abs=0.4)
    else:
        rounding = 1e-4 if name == "lcm" else 1e-6  # its skip connection adds a small share of x
        assert end == pytest.approx(table.alphas[-1] * clean + table.sigmas[-1] * 0.9, abs=rounding)


@settings(deadline=None)
@given(st.sampled_from([DIFFUSION, ZERO_SNR, FLOW]), st.sampled_from(sorted(SAMPLERS)), st.integers(1, 60))
def test_sigmas_and_timesteps_never_rise(diffusion: Diffusion, name: str, steps: int) -> None:
    """Sigmas and timesteps never rise along a run, and every timestep is in the trained range."""
    if name not in samplers_for(diffusion) or (name in ("lcm", "tcd") and not diffusion.flow and steps > 50):
        return
    table = make_table(diffusion, steps, sampler=name)
    assert (np.diff(table.sigmas) <= 1e-12).all()
    assert (np.diff(table.timesteps) <= 1e-4).all()  # DPM2 computes timesteps in float32
    assert table.timesteps[0] <= 1000
    assert table.timesteps[-1] >= 0
    total = table.alphas + table.sigmas if diffusion.flow else table.alphas**2 + table.sigmas**2
    np.testing.assert_allclose(total, 1, atol=1e-9)


@pytest.mark.parametrize("name", ["ddim", "euler", "dpmpp_2m", "dpmpp_3m", "unipc", "euler_ancestral", "dpmpp_2m_sde"])
@pytest.mark.parametrize("steps", [1, 2, 4, 7, 20, 50])
def test_zero_snr_coefficients_are_small(name: str, steps: int) -> None:
    """Starting from zero signal the coefficients stay of order one, so float16 does not overflow."""
    table = make_table(ZERO_SNR, steps, sampler=name)
    assert table.sigmas[0] == pytest.approx(1, abs=1e-6)
    for column in (table.a, table.b, table.d, table.p, table.q):
        assert np.abs(column).max() < 4
