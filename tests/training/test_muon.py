"""The optimizer."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from tintype.training.muon import Muon, _direct, _on_gram, orthogonalized  # noqa: E402


@pytest.mark.parametrize("shape", [(16, 16), (12, 40), (40, 12), (16, 200)])
def test_singular_values_are_brought_close_to_one(shape: tuple[int, int]) -> None:
    """Five Newton-Schulz rounds: every direction counts about the same, for wide, tall and square matrices."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalized(matrix))
    assert values.max() < 1.3
    assert values.min() > 0.3


def test_both_ways_of_iterating_agree() -> None:
    """The short cut for wide matrices is the same polynomial."""
    matrix = torch.randn(8, 64, generator=torch.Generator().manual_seed(1))
    matrix /= matrix.norm()
    torch.testing.assert_close(_on_gram(matrix), _direct(matrix), rtol=1e-3, atol=1e-4)


def test_it_learns_a_linear_map() -> None:
    """Matrices by Muon and the bias by AdamW reach the least squares together."""
    torch.manual_seed(0)
    wanted, layer = torch.nn.Linear(16, 8), torch.nn.Linear(16, 8)
    optimizer = Muon(layer.named_parameters(), 0.02)
    x = torch.randn(256, 16)
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (1 - step / 200)
        loss = torch.nn.functional.mse_loss(layer(x), wanted(x).detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3
