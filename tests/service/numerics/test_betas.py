"""The noise of training."""

import numpy as np
import pytest

from tintype.service.numerics.betas import alphas_cumprod

from .configs import read


def test_zero_terminal_snr() -> None:
    """Rescaled betas keep the first level and end in no signal at all: Lin et al. 2305.08891, alg. 1."""
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
    """The trained levels are torch's float32 numbers, not nearly so."""
    diffusers = pytest.importorskip("diffusers")
    settings = {"beta_schedule": schedule, "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": n}
    theirs = diffusers.DDIMScheduler(**settings).alphas_cumprod.double().numpy()
    ours = read({"_class_name": "DDIMScheduler", "clip_sample": False}, **settings).alphas_cumprod
    np.testing.assert_array_equal(ours, theirs)
