"""Latents: principal components of patches."""

from pathlib import Path

import numpy as np
import pytest

from tintype.training.model.latents import PatchBasis, cut_patches
from tintype.training.model.manifest import latent_preview
from tintype.training.scenes.render import render
from tintype.training.scenes.spec import make_spec


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([np.asarray(render(make_spec(seed))) for seed in range(40)])


def test_a_patch_holds_its_own_pixels() -> None:
    """Patch (row, column) of the reduced image is at [.., row, column], ordered by colour first."""
    image = np.zeros((1, 256, 256, 3), np.uint8)
    image[0, 32:48, 16:32, 1] = 255
    patches = cut_patches(image).reshape(3, 64, 16, 16)
    assert patches[1, :, 2, 1].min() == 1
    assert (patches == 1).sum() == 64


def test_all_components_give_the_image_back(images: np.ndarray) -> None:
    """With all 192 components, `inverse` inverts `encode`."""
    components = PatchBasis.fit(images, 192)
    back = np.einsum("nkhw,ck->nchw", components.encode(images), components.inverse) + components.mean[:, None, None]
    assert np.abs(back - cut_patches(images)).max() < 0.02


def test_deviations_of_latents_decrease(images: np.ndarray) -> None:
    """Component 0 has the standard deviation 1; later ones have less, but more than the noise."""
    deviations = PatchBasis.fit(images, 12).encode(images).std((0, 2, 3))
    assert deviations[0] == pytest.approx(1, abs=0.02)
    assert (np.diff(deviations) < 0.02).all()
    assert deviations[-1] > 0.05


def test_saved_components_are_the_same(images: np.ndarray, tmp_path: Path) -> None:
    """Loaded components encode like the fitted ones."""
    fitted = PatchBasis.fit(images[:8])
    fitted.save(tmp_path / "components.npz")
    loaded = PatchBasis.load(tmp_path / "components.npz")
    np.testing.assert_array_equal(loaded.encode(images[:2]), fitted.encode(images[:2]))


def test_the_preview_is_the_mean_colour(images: np.ndarray) -> None:
    """The manifest's map from latents to colours gives the mean colour of each patch, within 0.02."""
    components = PatchBasis.fit(images)
    table = latent_preview(components)
    shown = np.einsum("nkhw,kc->nhwc", components.encode(images), table["latent_to_rgb"]) + table["bias"]
    means = images.reshape(40, 16, 16, 16, 16, 3).mean((2, 4)) / 255
    assert np.abs(shown - means).mean() < 0.02
