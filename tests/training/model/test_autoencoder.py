"""The autoencoder: exact one way, and never worse than the components the other way."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from tintype.training.model.autoencoder import PatchAutoencoder  # noqa: E402
from tintype.training.model.latents import Components, patches  # noqa: E402
from tintype.training.scenes.render import render  # noqa: E402
from tintype.training.scenes.spec import spec  # noqa: E402


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack([np.asarray(render(spec(seed))) for seed in range(12)])


@pytest.fixture(scope="module")
def components(pictures: np.ndarray) -> Components:
    return Components.fit(pictures)


def as_pixels(pictures: np.ndarray) -> Any:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_the_encoder_is_the_components(pictures: np.ndarray, components: Components) -> None:
    """One convolution gives the latents that training used, with no spread."""
    found = PatchAutoencoder.of(components).encode(as_pixels(pictures)).latent_dist
    np.testing.assert_allclose(found.mean.detach().numpy(), components.encode(pictures), atol=1e-4)
    assert found.std.max() < 1e-6


def test_the_untrained_decoder_is_the_linear_inverse(pictures: np.ndarray, components: Components) -> None:
    """Training starts from what the components know and can only add to it."""
    latents = components.encode(pictures)
    decoded = PatchAutoencoder.of(components).decode(torch.from_numpy(latents)).sample.detach()
    linear = np.einsum("nkhw,ck->nchw", latents, components.inverse) + components.mean[:, None, None]
    shrunk = torch.nn.functional.avg_pool2d(decoded, 2).permute(0, 2, 3, 1).numpy()
    blurred = torch.nn.functional.pixel_shuffle(torch.from_numpy(linear), 8).permute(0, 2, 3, 1).numpy()
    assert np.abs(shrunk - blurred).mean() < 0.02
    assert patches(pictures).shape == linear.shape


def test_any_size_that_is_a_multiple_of_sixteen(components: Components) -> None:
    """Encoder and decoder are convolutions: pictures need not be square."""
    model = PatchAutoencoder.of(components)
    latents = model.encode(torch.zeros(1, 3, 64, 160)).latent_dist.mean
    assert latents.shape == (1, components.basis.shape[1], 4, 10)
    assert model.decode(latents).sample.shape == (1, 3, 64, 160)
