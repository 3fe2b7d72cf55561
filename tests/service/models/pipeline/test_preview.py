"""A preview is a linear map of the latents, given or fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

from tintype.service.models.pipeline.preview import fit_projection, preview
from tintype.service.models.spec import LatentToRgb

if TYPE_CHECKING:
    from collections.abc import Callable

    from tintype.service.models.pipeline.pipeline import DiffusionModel

Generate: TypeAlias = "Callable[[str], tuple[Any, Any]]"


def test_a_preview_is_the_linear_map() -> None:
    """Each pixel is weights.T @ latent + bias, clipped to 0..1."""
    projection = LatentToRgb(((1, 0, 0), (0, 1, -9)), (0.0, 0.25, 0.5))
    latents = np.array([[[0.5, 2.0]], [[0.5, -1.0]]], np.float32)
    pixels = preview(latents, projection)
    assert pixels.dtype == np.float32
    assert pixels.tolist() == [[[0.5, 1.0]], [[0.75, 0.0]], [[0.0, 1.0]]]


@pytest.mark.parametrize("channels", [5, 128])
def test_a_fit_finds_a_linear_decoder(channels: int) -> None:
    """For a linear decoder, the fitted map equals the decoder."""
    weights = np.random.default_rng(1).normal(size=(channels, 3)) * 0.05

    def decode(latents: np.ndarray) -> np.ndarray:
        pixels = np.einsum("cr,nchw->nrhw", weights, latents) + 0.5
        return pixels.repeat(8, axis=2).repeat(8, axis=3).astype(np.float32)

    projection = fit_projection(decode, channels)
    assert np.allclose(projection.weights, weights, atol=1e-5)
    assert np.allclose(projection.bias, 0.5, atol=1e-5)
    assert fit_projection(decode, channels) == projection


@pytest.mark.parametrize("prompt", ["a red circle on a blue background", "a green hill under a white sky"])
def test_previews_resemble_the_decoded_image(model: DiffusionModel, generate: Generate, prompt: str) -> None:
    """A fitted map resembles the decoded image; that of tintype.json resembles it more."""
    latents, pixels = generate(prompt)
    small = pixels.reshape(3, *latents.shape[1:2], -1, latents.shape[2], pixels.shape[2] // latents.shape[2]).mean(
        (2, 4)
    )

    def alike(preview: np.ndarray) -> float:
        return float(np.corrcoef(preview.ravel(), small.ravel())[0, 1])

    fitted = preview(latents, fit_projection(model.decode, model.spec.latent_channels))
    assert alike(fitted) > 0.9
    assert alike(model.preview(latents)) > max(0.97, alike(fitted))
