"""What both trainings share: where they run, a budget of minutes, averaged weights, and checkpoints to go on from."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .muon import Muon

SAVE_EVERY = 180.0
REPORT_EVERY = 20.0
WARM_UP = 40
CLIP = 1.0


@dataclass(frozen=True)
class Compute:
    """A device and how to use it: bfloat16 for the products, and whether to compile the network."""

    device: torch.device
    compiled: bool

    @classmethod
    def of(cls, name: str, *, compiled: bool) -> Compute:
        return cls(torch.device(name), compiled)

    def prepared(self, network: nn.Module) -> Any:
        """The network on the device, in the layout that convolutions like, ready to be called."""
        network.to(self.device, memory_format=torch.channels_last)
        return torch.compile(network) if self.compiled else network

    def products(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16)


class Budget:
    """Minutes of training, counted over all the runs that a checkpoint has seen."""

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self.seconds = minutes * 60
        self._begun = time.monotonic() - spent

    @property
    def spent(self) -> float:
        return time.monotonic() - self._begun

    @property
    def share(self) -> float:
        return self.spent / self.seconds

    def rate(self, peak: float, step: int, hold: float) -> float:
        """The learning rate now: a short rise, level for the `hold` share of the budget, then down to nothing."""
        fall = min(1.0, max(0.0, 1 - self.share) / (1 - hold))
        return peak * min(1.0, (step + 1) / WARM_UP) * fall


class Averaged:
    """An exponential mean of a network's weights, short at first."""

    def __init__(self, network: nn.Module, decay: float = 0.998) -> None:
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self._decay = decay

    def follow(self, network: nn.Module, step: int) -> None:
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
        """Write everything that going on needs; whole or not at all."""
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

    def learn(self, loss: Tensor, peak: float, hold: float) -> None:
        """One step down the gradient of `loss`."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.budget.rate(peak, self.step, hold)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.step += 1
        self.averaged.follow(self.network, self.step)


def run(course: Course, loss_of: Callable[[], tuple[Tensor, int]], peak: float, hold: float) -> None:
    """Train until the budget is spent; `loss_of` gives the loss of a fresh batch and how many samples it holds."""
    saved = reported = time.monotonic()
    losses: list[Tensor] = []
    seen, began = 0, time.monotonic()
    while course.budget.share < 1:
        loss, samples = loss_of()
        course.learn(loss, peak, hold)
        course.samples += samples
        seen += samples
        losses.append(loss.detach())
        now = time.monotonic()
        if now - reported > REPORT_EVERY:
            _report(course, losses, seen / (now - began))
            losses, reported = [], now
        if now - saved > SAVE_EVERY:
            course.save()
            saved = now
    course.save()


def _report(course: Course, losses: list[Tensor], pace: float) -> None:
    mean, rate = torch.stack(losses).mean().item(), course.optimizer.param_groups[0]["lr"]
    print(
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
