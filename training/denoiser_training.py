"""The denoiser and the text encoder, trained together on stored latents.

The target is v of Salimans and Ho, "Progressive distillation for fast sampling of diffusion models", 2022; the loss is
its plain squared error over evenly spread timesteps.
"""

# ruff: noqa: S311 - chance here draws pictures, nothing secret

from __future__ import annotations

import json
import random
import string
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .model.networks import NOISE, noise_schedule, text_encoder, unet
from .model.tokenizer import token_ids
from .muon import Muon
from .training_loop import Budget, Compute, Course, averaged_weights, join, run

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

RATE = 2e-3
HOLD = 0.25
NO_PROMPT = 0.1
NONSENSE = 0.1
TIMESTEPS = NOISE["num_train_timesteps"]


class Conditioned(nn.Module):
    """Text encoder and UNet as one network: noisy latents, timesteps and token numbers to v."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder: CLIPTextModel = text_encoder(tokenizer)
        self.unet: UNet2DConditionModel = unet()

    def forward(self, noisy: Tensor, timestep: Tensor, ids: Tensor) -> Tensor:
        """V [n, c, 16, 16]."""
        return self.unet(noisy, timestep, self.text_encoder(ids)[0]).sample


class Batches:
    """Random batches of latents [n, c, 16, 16] and token numbers [n, 32], kept on the device."""

    def __init__(self, folder: Path, tokenizer: CLIPTokenizer, size: int, device: torch.device) -> None:
        self._latents = torch.from_numpy(np.load(folder / "latents.npy")).to(device)
        self._ids = torch.from_numpy(_caption_ids(folder, tokenizer)).to(device)
        self._nothing = torch.tensor(token_ids(tokenizer, [""])[0], device=device)
        self._size, self._device = size, device

    def rows(self, places: range) -> tuple[Tensor, Tensor]:
        """Latents and the first caption of given pictures."""
        chosen = slice(places.start, places.stop)
        return self._latents[chosen].float(), self._ids[chosen, 0].long()

    def draw(self) -> tuple[Tensor, Tensor]:
        """A fresh batch; now and then with no prompt at all, for guidance."""
        chosen = torch.randint(len(self._latents), (self._size,), device=self._device)
        said = torch.randint(self._ids.shape[1], (self._size,), device=self._device)
        ids = self._ids[chosen, said].long()
        ids[torch.rand(self._size, device=self._device) < NO_PROMPT] = self._nothing
        return self._latents[chosen].float(), ids


def _caption_ids(folder: Path, tokenizer: CLIPTokenizer) -> np.ndarray:
    """int16 [pictures, captions, 32], made once and kept beside the captions."""
    kept = folder / "ids.npy"
    if not kept.exists():
        draw = random.Random(0)
        said = json.loads((folder / "captions.json").read_text())
        lines = [_with_nonsense(line, draw) for group in said for line in group]
        ids = np.array(token_ids(tokenizer, lines), np.int16)
        np.save(kept, ids.reshape(len(said), -1, ids.shape[1]))
    return np.load(kept)


def _with_nonsense(line: str, draw: random.Random) -> str:
    """Now and then a word that means nothing, so that words the model does not know do little harm."""
    if draw.random() >= NONSENSE:
        return line
    words = line.split()
    word = "".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9)))
    words.insert(draw.randint(0, len(words)), word)
    return " ".join(words)


def v_loss(network: nn.Module, latents: Tensor, ids: Tensor, keep: Tensor) -> Tensor:
    """Squared error of v; `keep` is the cumulative product of alphas, one per timestep."""
    count = len(latents)
    # One timestep in each of `count` equal strata: the same mean as independent ones, with less scatter.
    spread = (torch.arange(count, device=latents.device) + torch.rand(count, device=latents.device)) / count
    timestep = (spread * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)
    signal = keep[timestep].sqrt().view(-1, 1, 1, 1)
    spoil = (1 - keep[timestep]).sqrt().view(-1, 1, 1, 1)
    noise = torch.randn_like(latents)
    noisy = (signal * latents + spoil * noise).contiguous(memory_format=torch.channels_last)
    return functional.mse_loss(network(noisy, timestep, ids).float(), signal * noise - spoil * latents)


def train_unet(data: Path, tokenizer: CLIPTokenizer, out: Path, minutes: float, compute: Compute, size: int) -> None:
    """Train for `minutes` in all, going on from `out`/unet.pt if it is there; the averaged weights end up in `out`."""
    number = join()
    torch.manual_seed(0)
    network = Conditioned(tokenizer)
    compute.place(network)
    optimizer = Muon(network.named_parameters(), RATE, excluded=("conv_in", "conv_out", "embedding"))
    course = Course(network, optimizer, Budget(minutes), out / "unet.pt", number)
    # A run that goes on must not repeat the batches it has seen, nor a process those of another.
    torch.manual_seed(1000 * course.step + number)
    batches = Batches(data, tokenizer, size, compute.device)
    keep = noise_schedule().alphas_cumprod.to(compute.device)

    def loss_of() -> tuple[Tensor, int]:
        latents, ids = batches.draw()
        with compute.products():
            return v_loss(network, latents, ids, keep), size

    run(course, loss_of, RATE, HOLD)
    if not number:
        save_networks(course, out)


def save_networks(course: Course, out: Path) -> None:
    """Write the averaged text encoder and UNet in diffusers' layout."""
    with averaged_weights(course) as network:
        network.text_encoder.save_pretrained(out / "text_encoder")
        network.unet.save_pretrained(out / "unet")
