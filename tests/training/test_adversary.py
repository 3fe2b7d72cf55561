"""Critics, and the gradients that they add."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from tintype.training.adversary import WARM_UP, Adversary, PatchCritic  # noqa: E402
from tintype.training.decoder_training import BLAME, add_gradients  # noqa: E402


def test_a_critic_learns_what_is_real() -> None:
    """The critic tells smooth images from noise, and its blame falls on noise; at first it has no influence."""
    torch.manual_seed(0)
    adversary = Adversary(PatchCritic((3, 16, 32), (2, 2)), torch.device("cpu"))
    real, false = torch.zeros(4, 3, 32, 32), torch.randn(4, 3, 32, 32, requires_grad=True)
    assert adversary.blame(false) == 0
    losses = [adversary.improve(real, false) for _ in range(WARM_UP)]
    assert losses[-1] < losses[0] / 2
    assert adversary.blame(false) > adversary.blame(real)


def test_blame_leaves_the_critic_alone() -> None:
    """The blame has a gradient for what is judged, and none for the critic's weights."""
    adversary = Adversary(PatchCritic((3, 8), (2,), condition=4), torch.device("cpu"))
    adversary.steps = WARM_UP
    false = torch.randn(2, 3, 16, 16, requires_grad=True)
    adversary.blame(false, torch.randn(2, 4)).backward()
    assert false.grad is not None
    assert false.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in adversary.critic.parameters())


def test_the_critics_gradient_is_scaled_to_the_others() -> None:
    """The sum has the value of the first loss, and the second adds a gradient of a fixed size, however large it is."""
    weight = torch.ones(3, requires_grad=True)
    decoded = weight * 2
    combined = add_gradients(decoded, (decoded * torch.tensor([1.0, 0, 0])).sum(), 1e4 * decoded[1])
    combined.backward()
    assert combined.item() == pytest.approx(2.0)
    torch.testing.assert_close(weight.grad, torch.tensor([2.0, 2 * BLAME, 0]))
