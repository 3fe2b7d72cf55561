"""The linear preview of latents is exact for a linear decoder, and reports its error for any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tintype.export.preview import fit, smooth_latents

if TYPE_CHECKING:
    from tintype.export.preview import Array

WEIGHTS = np.array([[0.05, -0.02, 0.01], [0.0, 0.04, 0.0], [-0.03, 0.0, 0.02], [0.01, 0.01, -0.05]], np.float32)
BIAS = np.array([0.5, 0.45, 0.55], np.float32)


def linear(latents: Array) -> Array:
    """Decode linearly, with eight pixels per cell."""
    colours = np.einsum("nchw,ck->nkhw", latents, WEIGHTS) + BIAS[:, None, None]
    return colours.repeat(8, 2).repeat(8, 3)


def test_a_linear_decoder_is_found_exactly() -> None:
    """Colours that are linear in the latents give the same weights, without error."""
    found = fit(linear, 4, size=16)
    np.testing.assert_allclose(found.weights, WEIGHTS, atol=1e-6)
    np.testing.assert_allclose(found.bias, BIAS, atol=1e-6)
    assert found.error < 1e-6 < found.spread


def test_a_nonlinear_decoder_has_an_error() -> None:
    """A decoder that no matrix approximates has an error as large as its colours' spread."""
    found = fit(lambda latents: (0.5 + 0.3 * np.sin(40 * linear(latents))).astype(np.float32), 4, size=16)
    assert found.error == pytest.approx(found.spread, rel=0.2)


def test_latents_have_unit_variance_and_are_smooth() -> None:
    """Neighbouring cells are similar, as in the latents of images, for odd sizes too."""
    latents = smooth_latents(np.random.default_rng(0), (4, 4, 20, 27))
    assert latents.shape == (4, 4, 20, 27)
    assert latents.std() == pytest.approx(1, abs=1e-3)
    assert np.mean(latents[..., 1:] * latents[..., :-1]) > 0.6
