"""Learning rate, averaged weights, and checkpoints."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from tintype.training.denoiser_training import ConditionedDenoiser, compute_v_loss  # noqa: E402
from tintype.training.model.latents import CHANNELS  # noqa: E402
from tintype.training.model.networks import make_noise_schedule  # noqa: E402
from tintype.training.muon import Muon  # noqa: E402
from tintype.training.training_loop import (  # noqa: E402
    Budget,
    ComputeDevice,
    TrainingRun,
    WeightAverage,
    learning_rate,
    train,
)


def test_learning_rate_rises_holds_and_falls_to_zero() -> None:
    """The rate rises for forty steps, holds, then falls linearly to zero at the end of the budget."""
    assert learning_rate(1.0, 0.0, 0, 0.4) == pytest.approx(1 / 40)
    assert learning_rate(1.0, 0.3, 1000, 0.4) == 1
    assert learning_rate(1.0, 0.7, 1000, 0.4) == pytest.approx(0.5)
    assert learning_rate(1.0, 1.0, 1000, 0.4) == 0


def test_the_average_forgets_the_first_weights() -> None:
    """After 60 steps the average has almost nothing of the random first weights."""
    layer = torch.nn.Linear(2, 2)
    average = WeightAverage(layer)
    with torch.no_grad():
        layer.weight.fill_(3.0)
    for step in range(1, 60):
        average.update(layer, step)
    assert (average.weights["weight"] - 3).abs().max() < 1e-3


def make_run(path: Path, minutes: float) -> TrainingRun:
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 8)
    return TrainingRun(layer, Muon(layer.named_parameters(), 0.01), Budget(minutes), path)


def test_training_continues_from_its_checkpoint(tmp_path: Path) -> None:
    """Weights, average, steps and spent time are restored from the checkpoint."""
    x, first = torch.randn(16, 8), make_run(tmp_path / "layer.pt", 0.01)
    train(first, lambda: (first.network(x).square().mean(), 16), 0.01, 0.5)
    second = make_run(tmp_path / "layer.pt", 0.02)
    assert second.step == first.step > 0
    assert second.samples == 16 * first.step
    assert 0.4 < second.budget.fraction < 0.6
    torch.testing.assert_close(second.network.weight, first.network.weight)
    torch.testing.assert_close(second.average.weights["weight"], first.average.weights["weight"])


def test_averaged_network_restores_the_weights(tmp_path: Path) -> None:
    """The network has the averaged weights inside the context, and its own weights after it."""
    run = make_run(tmp_path / "layer.pt", 1)
    run.average.weights["weight"].zero_()
    before = run.network.weight.clone()
    with run.averaged_network() as network:
        assert network.weight.abs().sum() == 0
    torch.testing.assert_close(run.network.weight, before)


class FakeTokenizer:
    """The part of a tokenizer that the text encoder needs."""

    model_max_length, bos_token_id, eos_token_id, pad_token_id = 32, 0, 1, 1

    def __len__(self) -> int:
        return 40


def test_every_weight_of_the_denoiser_learns() -> None:
    """Every parameter changes within five steps, so none is disconnected from the loss.

    One bias of all keys of an attention adds the same to all its scores, and changes nothing.
    Branches that start at zero learn one after another, from the output inwards, so one step is not enough.
    """
    torch.manual_seed(0)
    network = ConditionedDenoiser.untrained(FakeTokenizer())
    compute = ComputeDevice.from_name("cpu")
    compute.move(network)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = Muon(network.named_parameters(), 1e-3, excluded=("conv_in", "conv_out", "embedding"))
    alphas = make_noise_schedule().alphas_cumprod
    for _ in range(5):
        with compute.autocast():
            loss = compute_v_loss(network, torch.randn(2, CHANNELS, 16, 16), torch.randint(0, 40, (2, 32)), alphas)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    same = [name for name, value in network.named_parameters() if torch.equal(value, before[name])]
    assert set(same) <= {"unet.add_embedding.pool.k_proj.bias"}
