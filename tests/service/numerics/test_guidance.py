"""Classifier-free guidance."""

import numpy as np
import pytest

from tintype.service.numerics import guide

UNCOND, COND = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 6)).astype(np.float32)


def test_each_row_has_its_scale() -> None:
    """Rows of one batch are guided as if alone; scale 1 is the prompt's own output, 0 the negative prompt's."""
    guided = guide(UNCOND, COND, [0.0, 1.0, 7.5])
    np.testing.assert_allclose(guided[0], UNCOND[0])
    np.testing.assert_allclose(guided[1], COND[1], atol=1e-6)
    np.testing.assert_allclose(guided[2], UNCOND[2] + 7.5 * (COND[2] - UNCOND[2]), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(guided[2], guide(UNCOND[2:], COND[2:], 7.5)[0])
    assert guided.dtype == np.float32


def test_rescale_restores_the_spread() -> None:
    """At rescale 1 each row has the spread of the prompt's own output, at 0 its own; in between, a mixture."""
    plain = guide(UNCOND, COND, 9.0)
    guided = guide(UNCOND, COND, 9.0, [0.0, 0.7, 1.0])
    np.testing.assert_array_equal(guided[0], plain[0])
    assert guided[2].std() == pytest.approx(COND[2].std(), rel=1e-5)
    assert guided[1].std() == pytest.approx(0.7 * COND[1].std() + 0.3 * plain[1].std(), rel=1e-5)
    assert guided.dtype == np.float32


def test_rescale_of_nothing_is_finite() -> None:
    """A guided output that is flat stays flat."""
    flat = np.zeros((1, 4, 2, 2), np.float32)
    assert not guide(flat, flat, 5.0, 0.7).any()


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_equals_diffusers() -> None:
    """Rescaling is diffusers' `rescale_noise_cfg`."""
    torch = pytest.importorskip("torch")
    pipeline = pytest.importorskip("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion")
    plain = torch.from_numpy(guide(UNCOND, COND, 7.5))
    theirs = pipeline.rescale_noise_cfg(plain, torch.from_numpy(COND), guidance_rescale=0.7).numpy()
    np.testing.assert_allclose(guide(UNCOND, COND, 7.5, 0.7), theirs, rtol=1e-5, atol=1e-6)
