"""Training continues from a packed model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from tintype.training.model.autoencoder import BLOCKS, PatchAutoencoder  # noqa: E402
from tintype.training.model.latents import PatchBasis  # noqa: E402
from tintype.training.model.pack import load_torch_pipeline  # noqa: E402
from tintype.training.model.tokenizer import extend_tokenizer, tokenize  # noqa: E402
from tintype.training.model.warm_start import copy_decoder, grow_text_encoder, recover_basis  # noqa: E402
from tintype.training.scenes.dataset import render_pixels  # noqa: E402

BUILTIN = Path(__file__).parents[3] / "service" / "models" / "builtin"


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return load_torch_pipeline(BUILTIN)


def test_the_basis_gives_the_latents_of_the_packed_encoder(pipeline: Any, tmp_path: Path) -> None:
    """The recovered components encode an image as the packed encoder does, and are stored and read like others."""
    recover_basis(pipeline.vae).save(tmp_path / "components.npz")
    basis, images = PatchBasis.load(tmp_path / "components.npz"), np.stack([render_pixels(0), render_pixels(2)])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        latents = pipeline.vae.encode(pixels).latent_dist.mean.numpy()
    np.testing.assert_allclose(basis.encode(images), latents, atol=1e-4)
    np.testing.assert_allclose(basis.inverse.T @ basis.basis, np.eye(basis.basis.shape[1]), atol=1e-4)


def test_a_larger_vocabulary_keeps_what_was_learned(pipeline: Any, tmp_path: Path) -> None:
    """Prompts of known tokens have the same embeddings; a new token starts as the mean of its pieces."""
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    larger = extend_tokenizer(BUILTIN / "tokenizer", ["zyzzyva zyzzyva"], tmp_path, merges=40)
    grown = grow_text_encoder(encoder, BUILTIN / "tokenizer", tmp_path).eval()
    with torch.no_grad():
        ids = [torch.tensor(tokenize(kind, ["a red circle"])) for kind in (tokenizer, larger)]
        torch.testing.assert_close(grown(ids[1])[0], encoder(ids[0])[0])
    (new,) = larger("zyzzyva").input_ids[1:-1]
    table = encoder.get_input_embeddings().weight
    pieces = tokenizer("zyzzyva").input_ids[1:-1]
    torch.testing.assert_close(grown.get_input_embeddings().weight[new], table[pieces].mean(0))


def test_more_residual_blocks_change_nothing_at_first() -> None:
    """A decoder with more blocks decodes as the one whose weights it got."""
    smaller = PatchAutoencoder(residual_blocks=(1, 1, 1, 1)).decoder
    larger = PatchAutoencoder(residual_blocks=BLOCKS).decoder
    for parameter in smaller.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    copy_decoder(smaller, larger)
    latents = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(larger(latents), smaller(latents))
