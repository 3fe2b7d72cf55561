"""The optimizer Muon."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from tintype.training.muon import Muon, _iterate_gram, _iterate_matrix, orthogonalize  # noqa: E402


@pytest.mark.parametrize("shape", [(16, 16), (12, 40), (40, 12), (16, 200)])
def test_singular_values_are_close_to_one(shape: tuple[int, int]) -> None:
    """Five Newton-Schulz rounds bring all singular values close to 1, for wide, tall and square matrices."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrix))
    assert values.max() < 1.3
    assert values.min() > 0.3


def test_both_iterations_agree() -> None:
    """The iteration for wide matrices evaluates the same polynomial."""
    matrix = torch.randn(8, 64, generator=torch.Generator().manual_seed(1))
    matrix /= matrix.norm()
    torch.testing.assert_close(_iterate_gram(matrix), _iterate_matrix(matrix), rtol=1e-3, atol=1e-4)


def test_it_learns_a_linear_map() -> None:
    """Muon for the matrix and AdamW for the bias together solve least squares."""
    torch.manual_seed(0)
    target, layer = torch.nn.Linear(16, 8), torch.nn.Linear(16, 8)
    optimizer = Muon(layer.named_parameters(), 0.02)
    x = torch.randn(256, 16)
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (1 - step / 200)
        loss = torch.nn.functional.mse_loss(layer(x), target(x).detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3
