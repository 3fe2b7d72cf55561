"""Adversaries: small critics that learn to tell what a network makes from what it should make.

The squared error alone gives the mean of everything that is plausible, which is a smear. A critic asks for something
plausible instead. The losses are hinge losses, and the critics' convolutions have spectral norms of 1 (Miyato et al.,
"Spectral normalization for generative adversarial networks", 2018).

A checkpoint does not hold a critic: a continued training begins with a new one, whose influence rises from 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

if TYPE_CHECKING:
    from collections.abc import Sequence

# Steps until a critic has its full influence.
WARM_UP = 150
RATE = 4e-4
SLOPE = 0.2


class PatchCritic(nn.Module):
    """Convolutions that judge overlapping patches: real ones above 0, false ones below.

    With `condition` numbers for each sample, for example a summary of its prompt, the critic also judges whether the
    two belong together (Miyato and Koyama, "cGANs with projection discriminator", 2018).
    """

    def __init__(self, widths: Sequence[int], strides: Sequence[int], condition: int = 0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, 3 if stride == 1 else 4, stride, padding=1))
            for before, after, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))
        self.projection = nn.Linear(condition, widths[-1], bias=False) if condition else None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Judge [n, c, h, w]: scores of the patches [n, 1, h', w'], and the features of every layer."""
        features = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), SLOPE)
            features.append(x)
        scores = self.last(x)
        if self.projection is not None and condition is not None:
            scores = scores + (self.projection(condition)[:, :, None, None] * x).mean(1, keepdim=True)
        return scores, features


class Adversary:
    """A critic with its optimizer."""

    def __init__(self, critic: PatchCritic, device: torch.device) -> None:
        self.critic = critic.to(device, memory_format=torch.channels_last)
        self._optimizer = torch.optim.AdamW(self.critic.parameters(), RATE, (0.0, 0.99), weight_decay=1e-3)
        self.steps = 0

    @property
    def influence(self) -> float:
        """The share of its full influence that the critic has by now, 0 to 1."""
        return min(1.0, self.steps / WARM_UP)

    def improve(self, real: Tensor, false: Tensor, condition: Tensor | None = None) -> float:
        """Let the critic learn from one batch; return its loss, which is 2 for one that knows nothing."""
        both = torch.cat([real, false.detach()])
        twice = None if condition is None else torch.cat([condition, condition]).detach()
        good, bad = self.critic(both, twice)[0].chunk(2)
        loss = functional.relu(1 - good).mean() + functional.relu(1 + bad).mean()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.steps += 1
        return float(loss.detach())

    def blame(self, false: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the loss of the network that made `false`: what the critic holds against it."""
        return -self.influence * self._judge(false, condition)[0].mean()

    def compare(self, false: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of `blame`, and the distance of the critic's features of `real` and the first of `false`."""
        scores, features = self._judge(false, None)
        with torch.no_grad():
            _, wanted = self.critic(real)
        distance = sum((a[: len(b)] - b).abs().mean() for a, b in zip(features, wanted, strict=True)) / len(features)
        return -self.influence * scores.mean(), self.influence * torch.as_tensor(distance)

    def _judge(self, false: Tensor, condition: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Judge without a gradient for the critic's own weights."""
        self.critic.requires_grad_(requires_grad=False)
        judged: tuple[Tensor, list[Tensor]] = self.critic(false, condition)
        self.critic.requires_grad_()
        return judged
