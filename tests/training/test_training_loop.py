"""Budgets, rates, averages, and going on from a checkpoint."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from tintype.training.denoiser_training import Conditioned, v_loss  # noqa: E402
from tintype.training.model.latents import CHANNELS  # noqa: E402
from tintype.training.model.networks import noise_schedule  # noqa: E402
from tintype.training.muon import Muon  # noqa: E402
from tintype.training.training_loop import Averaged, Budget, Compute, Course, averaged_weights, rate, run  # noqa: E402


def test_the_rate_rises_holds_and_falls_to_nothing() -> None:
    """Forty steps up, level for the held share, then a straight line to zero at the end of the budget."""
    assert rate(1.0, 0.0, 0, 0.4) == pytest.approx(1 / 40)
    assert rate(1.0, 0.3, 1000, 0.4) == 1
    assert rate(1.0, 0.7, 1000, 0.4) == pytest.approx(0.5)
    assert rate(1.0, 1.0, 1000, 0.4) == 0


def test_the_average_forgets_the_beginning() -> None:
    """The first weights, which are noise, are soon gone from the mean."""
    layer = torch.nn.Linear(2, 2)
    averaged = Averaged(layer)
    with torch.no_grad():
        layer.weight.fill_(3.0)
    for step in range(1, 60):
        averaged.follow(layer, step)
    assert (averaged.weights["weight"] - 3).abs().max() < 1e-3


def course(path: Path, minutes: float) -> Course:
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 8)
    return Course(layer, Muon(layer.named_parameters(), 0.01), Budget(minutes), path)


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Weights, mean, steps and time spent come back from the checkpoint."""
    x, first = torch.randn(16, 8), course(tmp_path / "layer.pt", 0.01)
    run(first, lambda: (first.network(x).square().mean(), 16), 0.01, 0.5)
    again = course(tmp_path / "layer.pt", 0.02)
    assert again.step == first.step > 0
    assert again.samples == 16 * first.step
    assert 0.4 < again.budget.share < 0.6
    torch.testing.assert_close(again.network.weight, first.network.weight)
    torch.testing.assert_close(again.averaged.weights["weight"], first.averaged.weights["weight"])


def test_looking_at_the_average_changes_nothing(tmp_path: Path) -> None:
    """The averaged weights are lent to the network and taken back."""
    made = course(tmp_path / "layer.pt", 1)
    made.averaged.weights["weight"].zero_()
    before = made.network.weight.clone()
    with averaged_weights(made) as network:
        assert network.weight.abs().sum() == 0
    torch.testing.assert_close(made.network.weight, before)


class Vocabulary:
    """As much of a tokenizer as the text encoder asks for."""

    model_max_length, bos_token_id, eos_token_id, pad_token_id = 32, 0, 1, 1

    def __len__(self) -> int:
        return 40


def test_every_weight_of_the_denoiser_learns() -> None:
    """After a few steps nothing is as it was: no level and no embedding is cut off from the loss.

    Zeroed branches learn one after another, from the outside in, so this takes more than one step.
    """
    torch.manual_seed(0)
    network = Conditioned(Vocabulary())
    compute = Compute.of("cpu")
    compute.place(network)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = Muon(network.named_parameters(), 1e-3, excluded=("conv_in", "conv_out", "embedding"))
    keep = noise_schedule().alphas_cumprod
    for _ in range(5):
        with compute.products():
            loss = v_loss(network, torch.randn(2, CHANNELS, 16, 16), torch.randint(0, 40, (2, 32)), keep)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert [name for name, value in network.named_parameters() if torch.equal(value, before[name])] == []
