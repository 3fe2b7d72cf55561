"""Train the upscaler for a number of minutes, from the checkpoint if there is one, and write its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..muon import Muon
from ..training_loop import Budget, ComputeDevice, TrainingRun, train
from .network import Upscaler, write_graph
from .samples import PairBatches, write_large_images

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

RATE = 1.5e-3
HOLD = 0.4
BATCH = 16
LARGE_IMAGES = 256
# The weight of the error of differences between neighbours, which makes edges sharp.
EDGES = 0.5


def train_upscaler(work: Path, out: Path, minutes: float, compute: ComputeDevice) -> None:
    """Train for `minutes` in total, from the checkpoint in `work` if it exists; write the ONNX file `out`."""
    torch.manual_seed(0)
    write_large_images(work, LARGE_IMAGES)
    network = Upscaler()
    compute.move(network)
    optimizer = Muon(network.named_parameters(), RATE, excluded=("linear", "conv_in", "conv_out"))
    run = TrainingRun(network, optimizer, Budget(minutes), work / "upscaler.pt")
    batches = PairBatches(work, BATCH)

    def compute_loss() -> tuple[Tensor, int]:
        small, large = (part.to(compute.device) for part in batches.draw())
        return measure_error(network(small.contiguous(memory_format=torch.channels_last)), large), BATCH

    train(run, compute_loss, RATE, HOLD)
    with run.averaged_network():
        write_graph(network.cpu().eval(), out)


def measure_error(enlarged: Tensor, large: Tensor) -> Tensor:
    """Return the mean absolute error of pixels and of their differences."""
    error = enlarged - large
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + EDGES * edges
