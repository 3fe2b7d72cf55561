"""The diffusion of the model: noise, DDIM steps, and sampling with torch networks.

Song et al., "Denoising diffusion implicit models", 2021; v as in Salimans and Ho, "Progressive distillation for fast
sampling of diffusion models", 2022.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .model.networks import NOISE, make_noise_schedule

if TYPE_CHECKING:
    from .denoiser_training import ConditionedDenoiser

TIMESTEPS = NOISE["num_train_timesteps"]
# The index after the last timestep, where there is no noise.
END = TIMESTEPS


@dataclass(frozen=True)
class Diffusion:
    """The noise schedule: `alphas` are the cumulative products by timestep, and 1 at the index `END`."""

    alphas: Tensor

    @classmethod
    def on(cls, device: torch.device) -> Diffusion:
        """Return the model's schedule on a device."""
        alphas = make_noise_schedule().alphas_cumprod
        return cls(torch.cat([alphas, torch.ones(1)]).to(device))

    def scales(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scales of signal and noise, [n, 1, 1, 1] each."""
        alpha = self.alphas[timestep].view(-1, 1, 1, 1)
        return alpha.sqrt(), (1 - alpha).sqrt()

    def add_noise(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """Return noisy latents."""
        alpha, sigma = self.scales(timestep)
        return alpha * latents + sigma * torch.randn_like(latents)

    def step(self, x: Tensor, v: Tensor, now: Tensor, then: Tensor) -> Tensor:
        """Take a DDIM step from timesteps `now` to `then`."""
        alpha, sigma = self.scales(now)
        next_alpha, next_sigma = self.scales(then)
        return next_alpha * (alpha * x - sigma * v) + next_sigma * (alpha * v + sigma * x)

    def find_v(self, x: Tensor, end: Tensor, now: Tensor, then: Tensor) -> Tensor:
        """Return the v whose DDIM step from `x` gives `end`: the inverse of `step`."""
        alpha, sigma = self.scales(now)
        next_alpha, next_sigma = self.scales(then)
        ratio = next_sigma / sigma
        denoised = (end - ratio * x) / (next_alpha - ratio * alpha)
        return (alpha * x - denoised) / sigma


def list_grid(steps: int, device: torch.device) -> Tensor:
    """Return the timesteps of a sampling with trailing spacing, then `END`; for 4 steps 999, 749, 499, 249, 1000."""
    spread = torch.arange(steps, 0, -1, device=device) * TIMESTEPS // steps - 1
    return torch.cat([spread, torch.tensor([END], device=device)])


class Sampler:
    """DDIM without guidance with a torch network."""

    def __init__(self, network: ConditionedDenoiser, device: torch.device) -> None:
        self._network, self._diffusion, self._device = network, Diffusion.on(device), device

    @torch.no_grad()
    def sample(self, ids: Tensor, noise: Tensor, steps: int, taken: int | None = None) -> Tensor:
        """Denoise `noise` in `steps`, of which only the first `taken` are taken; return latents [n, c, h, w]."""
        embeds, x, grid = self._network.text_encoder(ids)[0], noise, list_grid(steps, self._device)
        for now, then in list(itertools.pairwise(grid))[:taken]:
            x = self._step(x, embeds, now.expand(len(x)), then.expand(len(x)))
        return x

    @torch.no_grad()
    def renew(self, latents: Tensor, ids: Tensor, lowest: int, highest: int) -> Tensor:
        """Add the noise of random timesteps to latents, and denoise them in one step."""
        now = torch.randint(lowest, highest, (len(latents),), device=self._device)
        noisy = self._diffusion.add_noise(latents, now)
        return self._step(noisy, self._network.text_encoder(ids)[0], now, torch.full_like(now, END))

    def _step(self, x: Tensor, embeds: Tensor, now: Tensor, then: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return self._diffusion.step(x, self._network.unet(x, now, embeds).sample.float(), now, then)
