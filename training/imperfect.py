"""Latents as the denoiser leaves them: true ones, noised a little, and denoised in one step.

The decoder goes on with these when the denoiser is trained, so that it forgives what the denoiser gets wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from .denoiser_training import Batches
from .model.networks import noise_schedule

if TYPE_CHECKING:
    from pathlib import Path

    from .training_loop import Compute

# Timesteps (of 1000) from which one step is taken: late ones, where only details are still open.
LATE = (40, 320)
BATCH = 64


@torch.no_grad()
def write_imperfect(data: Path, out: Path, tokenizer: CLIPTokenizer, compute: Compute, count: int) -> None:
    """`data`/imperfect.npy: float16 [count, c, 16, 16], the first `count` latents of the set, imperfectly denoised."""
    encoder = CLIPTextModel.from_pretrained(out / "text_encoder").to(compute.device).eval()
    unet = UNet2DConditionModel.from_pretrained(out / "unet").to(compute.device).eval()
    keep = noise_schedule().alphas_cumprod.to(compute.device)
    batches = Batches(data, tokenizer, BATCH, compute.device)
    made = []
    for low in range(0, count, BATCH):
        latents, ids = batches.rows(range(low, min(low + BATCH, count)))
        made.append(_denoised(unet, latents, encoder(ids)[0], keep).half().cpu().numpy())
    np.save(data / "imperfect.npy", np.concatenate(made))


def _denoised(unet: UNet2DConditionModel, latents: Tensor, embeds: Tensor, keep: Tensor) -> Tensor:
    timestep = torch.randint(*LATE, (len(latents),), device=latents.device)
    signal, spoil = keep[timestep].sqrt().view(-1, 1, 1, 1), (1 - keep[timestep]).sqrt().view(-1, 1, 1, 1)
    noisy = signal * latents + spoil * torch.randn_like(latents)
    return signal * noisy - spoil * unet(noisy, timestep, embeds).sample
