"""The training loop: a budget of minutes, averaged weights, checkpoints, and several processes.

With `torchrun`, processes share the work: each has its own batches, and gradients are averaged after every step. On a
CPU that has other work, one process per core with one thread each is much faster than one process with many threads.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .muon import Muon

# Seconds between checkpoints, and between lines of the log.
SAVE_EVERY = 180.0
REPORT_EVERY = 20.0
# Steps until the learning rate reaches its peak.
WARM_UP = 40
# The largest norm of the gradients.
CLIP = 1.0


@dataclass(frozen=True)
class ComputeDevice:
    """A device, with the memory layout and the precision that suit it.

    Nothing is compiled: with torch 2.13 on a CPU, `torch.compile` gave zero gradients to everything below a
    nearest-neighbour upsampling in bfloat16, and so to all of the UNet but its outermost level.
    """

    device: torch.device

    @classmethod
    def from_name(cls, name: str) -> ComputeDevice:
        """Return the device `cpu` or `cuda`."""
        return cls(torch.device(name))

    def move(self, network: nn.Module) -> None:
        """Move the network to the device, in the layout that is fastest for convolutions."""
        network.to(self.device, memory_format=torch.channels_last)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Evaluate networks in bfloat16, on a CPU only if it has matrix units for it (AMX).

        Without AMX, float32 is 1.5 times faster at our sizes. With it, attention is computed as plain matrix products:
        torch's flash attention for CPUs is two to nine times slower than bfloat16 products.
        """
        if self.device.type == "cpu" and not torch.cpu.get_capabilities().get("amx_tile"):
            yield
            return
        attention = (
            [SDPBackend.MATH]
            if self.device.type == "cpu"
            else [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
        )
        with torch.autocast(self.device.type, torch.bfloat16), sdpa_kernel(attention):
            yield


def join_processes() -> int:
    """Join the processes that `torchrun` started, if any; return the rank of this one."""
    if not distributed.is_initialized() and "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo")
    return distributed.get_rank() if distributed.is_initialized() else 0


def count_processes() -> int:
    """Return the number of processes that share the work."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def average_gradients(network: nn.Module) -> None:
    """Average the gradients over all processes."""
    if not distributed.is_initialized():
        return
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients]) / count_processes()
    distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def broadcast_from_first(value: float) -> float:
    """Return the value of the first process, in all processes."""
    if not distributed.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    distributed.broadcast(shared, 0)
    return float(shared)


class Budget:
    """Minutes of training, including earlier runs that the checkpoint continues."""

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self.seconds = minutes * 60
        self._start = time.monotonic() - spent

    @property
    def spent(self) -> float:
        """Seconds spent so far."""
        return time.monotonic() - self._start

    @property
    def fraction(self) -> float:
        """The spent fraction of the budget, from 0 on; all processes must ask for it together."""
        return broadcast_from_first(self.spent / self.seconds)


def learning_rate(peak: float, fraction: float, step: int, hold: float) -> float:
    """Return the learning rate: a short rise, `peak` for the `hold` fraction of the budget, then a line to zero."""
    return peak * min(1.0, (step + 1) / WARM_UP) * min(1.0, max(0.0, 1 - fraction) / (1 - hold))


class WeightAverage:
    """An exponential moving average of a network's weights, over fewer steps at the beginning."""

    def __init__(self, network: nn.Module, decay: float = 0.998) -> None:
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self._decay = decay

    def update(self, network: nn.Module, step: int) -> None:
        """Add the weights after `step` steps."""
        share = 1 - min(self._decay, step / (step + 10))
        current = network.state_dict()
        floats = [name for name, value in self.weights.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in floats], [current[name] for name in floats], share)


@dataclass
class TrainingRun:
    """One training: network, optimizer, averaged weights, and the checkpoint at `path`, which it continues."""

    network: nn.Module
    optimizer: Muon
    budget: Budget
    path: Path
    rank: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        self.average = WeightAverage(self.network)
        self.samples = 0
        if self.path.exists():
            self._restore()

    def _restore(self) -> None:
        stored = torch.load(self.path, map_location=next(self.network.parameters()).device, weights_only=True)
        self.network.load_state_dict(stored["network"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.average.weights = stored["averaged"]
        self.step, self.samples = stored["step"], stored["samples"]
        self.budget = Budget(self.budget.seconds / 60, stored["spent"])

    def save(self) -> None:
        """Write the checkpoint atomically; only the first of several processes writes."""
        if self.rank:
            return
        partial = self.path.with_suffix(".partial")
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.average.weights,
            "step": self.step,
            "samples": self.samples,
            "spent": self.budget.spent,
        }
        torch.save(state, partial)
        partial.replace(self.path)

    def take_step(self, loss: Tensor, rate: float) -> None:
        """Take one optimizer step on `loss`."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        average_gradients(self.network)
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.step += 1
        self.average.update(self.network, self.step)

    @contextlib.contextmanager
    def averaged_network(self) -> Iterator[nn.Module]:
        """Put the averaged weights into the network for the duration of the context."""
        current = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average.weights)
        try:
            yield self.network
        finally:
            self.network.load_state_dict(current)


def train(run: TrainingRun, compute_loss: Callable[[], tuple[Tensor, int]], peak: float, hold: float) -> None:
    """Train until the budget is spent; `compute_loss` returns the loss of a new batch, and its number of samples."""
    saved = reported = time.monotonic()
    losses: list[Tensor] = []
    seen, start = 0, time.monotonic()
    while (fraction := run.budget.fraction) < 1:
        loss, samples = compute_loss()
        run.take_step(loss, learning_rate(peak, fraction, run.step, hold))
        run.samples += samples * count_processes()
        seen += samples * count_processes()
        losses.append(loss.detach())
        now = time.monotonic()
        if not run.rank and now - reported > REPORT_EVERY:
            _report(run, losses, seen / (now - start))
            losses, reported = [], now
        if now - saved > SAVE_EVERY:
            run.save()
            saved = now
    run.save()


def _report(run: TrainingRun, losses: list[Tensor], pace: float) -> None:
    mean, rate = torch.stack(losses).mean().item(), run.optimizer.param_groups[0]["lr"]
    print(  # noqa: T201 - the log of a training
        f"{run.budget.spent:6.0f} s  step {run.step}  samples {run.samples}"
        f"  loss {mean:.4f}  {pace:.1f} samples/s  rate {rate:.5f}",
        flush=True,
    )
