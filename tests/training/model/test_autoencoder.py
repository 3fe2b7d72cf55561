"""The autoencoder: an exact encoder, and a decoder that starts as its linear inverse."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from tintype.training.model.autoencoder import PatchAutoencoder  # noqa: E402
from tintype.training.model.latents import PatchBasis, cut_patches  # noqa: E402
from tintype.training.scenes.render import render  # noqa: E402
from tintype.training.scenes.spec import make_spec  # noqa: E402


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([np.asarray(render(make_spec(seed))) for seed in range(12)])


@pytest.fixture(scope="module")
def components(images: np.ndarray) -> PatchBasis:
    return PatchBasis.fit(images)


def as_pixels(images: np.ndarray) -> Any:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_the_encoder_computes_the_components(images: np.ndarray, components: PatchBasis) -> None:
    """The convolution gives the latents of `PatchBasis.encode`, with almost no variance."""
    distribution = PatchAutoencoder.from_basis(components).encode(as_pixels(images)).latent_dist
    np.testing.assert_allclose(distribution.mean.detach().numpy(), components.encode(images), atol=1e-4)
    assert distribution.std.max() < 1e-6


def test_the_untrained_decoder_is_the_linear_inverse(images: np.ndarray, components: PatchBasis) -> None:
    """Before training, the decoder reproduces what the components describe."""
    latents = components.encode(images)
    decoded = PatchAutoencoder.from_basis(components).decode(torch.from_numpy(latents)).sample.detach()
    linear = np.einsum("nkhw,ck->nchw", latents, components.inverse) + components.mean[:, None, None]
    shrunk = torch.nn.functional.avg_pool2d(decoded, 2).permute(0, 2, 3, 1).numpy()
    blurred = torch.nn.functional.pixel_shuffle(torch.from_numpy(linear), 8).permute(0, 2, 3, 1).numpy()
    assert np.abs(shrunk - blurred).mean() < 0.02
    assert cut_patches(images).shape == linear.shape


def test_any_size_that_is_a_multiple_of_sixteen(components: PatchBasis) -> None:
    """Encoder and decoder are convolutions, so images need not be square."""
    model = PatchAutoencoder.from_basis(components)
    latents = model.encode(torch.zeros(1, 3, 64, 160)).latent_dist.mean
    assert latents.shape == (1, components.basis.shape[1], 4, 10)
    assert model.decode(latents).sample.shape == (1, 3, 64, 160)
