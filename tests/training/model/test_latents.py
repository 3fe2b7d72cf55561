"""The principal components that are the latents."""

from pathlib import Path

import numpy as np
import pytest

from tintype.training.model.latents import Components, patches
from tintype.training.model.manifest import preview
from tintype.training.scenes.render import render
from tintype.training.scenes.spec import spec


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack([np.asarray(render(spec(seed))) for seed in range(40)])


def test_a_patch_holds_its_own_pixels() -> None:
    """Patch (row, column) of the shrunk picture lies at [.., row, column], colour first."""
    picture = np.zeros((1, 256, 256, 3), np.uint8)
    picture[0, 32:48, 16:32, 1] = 255
    cut = patches(picture).reshape(3, 64, 16, 16)
    assert cut[1, :, 2, 1].min() == 1
    assert (cut == 1).sum() == 64


def test_all_components_give_the_picture_back(pictures: np.ndarray) -> None:
    """With every component kept, `inverse` undoes `encode`."""
    components = Components.fit(pictures, 192)
    back = np.einsum("nkhw,ck->nchw", components.encode(pictures), components.inverse) + components.mean[:, None, None]
    assert np.abs(back - patches(pictures)).max() < 0.02


def test_latents_are_centred_and_their_spread_falls(pictures: np.ndarray) -> None:
    """Component 0 has spread 1; later ones have less, but none is drowned."""
    spread = Components.fit(pictures, 12).encode(pictures).std((0, 2, 3))
    assert spread[0] == pytest.approx(1, abs=0.02)
    assert (np.diff(spread) < 0.02).all()
    assert spread[-1] > 0.05


def test_saved_components_are_the_same(pictures: np.ndarray, tmp_path: Path) -> None:
    """What is stored encodes as what was fitted."""
    fitted = Components.fit(pictures[:8])
    fitted.save(tmp_path / "components.npz")
    loaded = Components.load(tmp_path / "components.npz")
    np.testing.assert_array_equal(loaded.encode(pictures[:2]), fitted.encode(pictures[:2]))


def test_the_preview_is_the_mean_colour(pictures: np.ndarray) -> None:
    """The manifest's latent-to-colour table gives each patch its mean, as well as the components know it."""
    components = Components.fit(pictures)
    table = preview(components)
    shown = np.einsum("nkhw,kc->nhwc", components.encode(pictures), table["latent_to_rgb"]) + table["bias"]
    wanted = pictures.reshape(40, 16, 16, 16, 16, 3).mean((2, 4)) / 255
    assert np.abs(shown - wanted).mean() < 0.02
