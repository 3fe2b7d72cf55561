"""What both trainings share: where they run, a budget of minutes, averaged weights, and checkpoints to go on from.

Started by `torchrun`, processes share the work: each has its own batches, and gradients are averaged once a step.  On
a CPU that other people use too, one process per core with one thread each is far better than one with many threads.
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

SAVE_EVERY = 180.0
REPORT_EVERY = 20.0
WARM_UP = 40
CLIP = 1.0


@dataclass(frozen=True)
class Compute:
    """A device, and how to use it.

    Nothing is compiled: with torch 2.13 on a CPU, `torch.compile` gave zero gradients to everything below a
    nearest-neighbour upsampling in bfloat16, and so to all of the UNet but its outermost level.
    """

    device: torch.device

    @classmethod
    def of(cls, name: str) -> Compute:
        """From a device's name, `cpu` or `cuda`."""
        return cls(torch.device(name))

    def place(self, network: nn.Module) -> None:
        """Move the network to the device, in the layout that convolutions like."""
        network.to(self.device, memory_format=torch.channels_last)

    @contextlib.contextmanager
    def products(self) -> Iterator[None]:
        """Where the network is called: bfloat16, and on a CPU attention as plain products.

        torch's flash attention for CPUs is two to nine times slower than those in bfloat16 at our sizes.
        """
        attention = (
            [SDPBackend.MATH]
            if self.device.type == "cpu"
            else [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
        )
        with torch.autocast(self.device.type, torch.bfloat16), sdpa_kernel(attention):
            yield


def join() -> int:
    """Meet the other processes, if `torchrun` has started several; this one's number."""
    if not distributed.is_initialized() and "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo")
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes() -> int:
    """How many share the work."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def average_gradients(network: nn.Module) -> None:
    """Over all processes."""
    if not distributed.is_initialized():
        return
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients]) / processes()
    distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def agreed(value: float) -> float:
    """The first process's value, for all."""
    if not distributed.is_initialized():
        return value
    told = torch.tensor([value], dtype=torch.float64)
    distributed.broadcast(told, 0)
    return float(told)


class Budget:
    """Minutes of training, counted over all the runs that a checkpoint has seen."""

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self.seconds = minutes * 60
        self._begun = time.monotonic() - spent

    @property
    def spent(self) -> float:
        """Seconds spent so far."""
        return time.monotonic() - self._begun

    @property
    def share(self) -> float:
        """How much of it is spent, 0 to 1; a meeting point of all processes."""
        return agreed(self.spent / self.seconds)


def rate(peak: float, share: float, step: int, hold: float) -> float:
    """The learning rate now: a short rise, level for the `hold` share of the budget, then down to nothing."""
    return peak * min(1.0, (step + 1) / WARM_UP) * min(1.0, max(0.0, 1 - share) / (1 - hold))


class Averaged:
    """An exponential mean of a network's weights, short at first."""

    def __init__(self, network: nn.Module, decay: float = 0.998) -> None:
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self._decay = decay

    def follow(self, network: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps."""
        share = 1 - min(self._decay, step / (step + 10))
        current = network.state_dict()
        floats = [name for name, value in self.weights.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in floats], [current[name] for name in floats], share)


@dataclass
class Course:
    """One training: the network, its optimizer, its mean, and the file it can go on from."""

    network: nn.Module
    optimizer: Muon
    budget: Budget
    path: Path
    number: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        self.averaged = Averaged(self.network)
        self.samples = 0
        if self.path.exists():
            self._restore()

    def _restore(self) -> None:
        stored = torch.load(self.path, map_location=next(self.network.parameters()).device, weights_only=True)
        self.network.load_state_dict(stored["network"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.averaged.weights = stored["averaged"]
        self.step, self.samples = stored["step"], stored["samples"]
        self.budget = Budget(self.budget.seconds / 60, stored["spent"])

    def save(self) -> None:
        """Write everything that going on needs; whole or not at all, and only the first of several processes."""
        if self.number:
            return
        partial = self.path.with_suffix(".partial")
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.weights,
            "step": self.step,
            "samples": self.samples,
            "spent": self.budget.spent,
        }
        torch.save(state, partial)
        partial.replace(self.path)

    def learn(self, loss: Tensor, rate: float) -> None:
        """One step down the gradient of `loss`."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        average_gradients(self.network)
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.step += 1
        self.averaged.follow(self.network, self.step)


def run(course: Course, loss_of: Callable[[], tuple[Tensor, int]], peak: float, hold: float) -> None:
    """Train until the budget is spent; `loss_of` gives the loss of a fresh batch and how many samples it holds."""
    saved = reported = time.monotonic()
    losses: list[Tensor] = []
    seen, began = 0, time.monotonic()
    while (share := course.budget.share) < 1:
        loss, samples = loss_of()
        course.learn(loss, rate(peak, share, course.step, hold))
        course.samples += samples * processes()
        seen += samples * processes()
        losses.append(loss.detach())
        now = time.monotonic()
        if not course.number and now - reported > REPORT_EVERY:
            _report(course, losses, seen / (now - began))
            losses, reported = [], now
        if now - saved > SAVE_EVERY:
            course.save()
            saved = now
    course.save()


def _report(course: Course, losses: list[Tensor], pace: float) -> None:
    mean, rate = torch.stack(losses).mean().item(), course.optimizer.param_groups[0]["lr"]
    print(  # noqa: T201 - the log of a training
        f"{course.budget.spent:6.0f} s  step {course.step}  samples {course.samples}"
        f"  loss {mean:.4f}  {pace:.1f} samples/s  rate {rate:.5f}",
        flush=True,
    )


@contextlib.contextmanager
def averaged_weights(course: Course) -> Iterator[nn.Module]:
    """The network with its averaged weights in it, for looking and for saving."""
    current = {name: value.clone() for name, value in course.network.state_dict().items()}
    course.network.load_state_dict(course.averaged.weights)
    try:
        yield course.network
    finally:
        course.network.load_state_dict(current)
