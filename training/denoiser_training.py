"""Train the denoiser and the text encoder together, on stored latents.

The target is v of Salimans and Ho, "Progressive distillation for fast sampling of diffusion models", 2022. The loss is
its squared error over evenly spread timesteps, without weights.
"""

# ruff: noqa: S311 - these random numbers choose words; they keep nothing secret

from __future__ import annotations

import random
import string
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from .model.networks import BLOCKS, NOISE, make_noise_schedule, make_text_encoder, make_unet
from .model.tokenizer import tokenize
from .model.warm_start import FORMER_TOKENIZER, grow_text_encoder
from .model.widening import widen_unet
from .muon import Muon
from .scenes.dataset import IDS, LATENTS, read_captions
from .training_loop import Budget, ComputeDevice, TrainingRun, join_processes, train

if TYPE_CHECKING:
    from pathlib import Path

# The peak learning rates of random weights and of weights that were trained before.
RATE, WARM_RATE = 2e-3, 1.4e-3
HOLD = 0.3
# Share of samples without a prompt, for guidance.
NO_PROMPT = 0.1
# Share of captions with a meaningless word.
NONSENSE = 0.1
# Parameters whose updates are not orthogonalized.
EXCLUDED = ("conv_in", "conv_out", "embedding")
TIMESTEPS = NOISE["num_train_timesteps"]


class ConditionedDenoiser(nn.Module):
    """Text encoder and UNet as one network."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text_encoder, self.unet = text_encoder, unet

    @classmethod
    def untrained(cls, tokenizer: CLIPTokenizer) -> ConditionedDenoiser:
        """Return a network with random weights."""
        return cls(make_text_encoder(tokenizer), make_unet())

    @classmethod
    def load(cls, folder: Path, part: str = ".") -> ConditionedDenoiser:
        """Load the networks in `folder`/`part`.

        The text encoder's vocabulary grows to that of `folder`/tokenizer, and a UNet of a former width to the present.
        """
        text_encoder = CLIPTextModel.from_pretrained(folder / part / "text_encoder")
        if text_encoder.config.vocab_size < len(CLIPTokenizer.from_pretrained(folder / "tokenizer")):
            text_encoder = grow_text_encoder(text_encoder, folder / FORMER_TOKENIZER, folder / "tokenizer")
        unet = UNet2DConditionModel.from_pretrained(folder / part / "unet")
        if tuple(unet.config.block_out_channels) != BLOCKS:
            unet = widen_unet(unet)
        return cls(text_encoder, unet).train()

    def forward(self, noisy: Tensor, timestep: Tensor, ids: Tensor) -> Tensor:
        """Predict v [n, c, 16, 16] from noisy latents, timesteps [n] and token ids [n, 32]."""
        return self.unet(noisy, timestep, self.text_encoder(ids)[0]).sample


class LatentBatches:
    """Random batches of latents [n, c, 16, 16] and token ids [n, 32]; all data is on the device."""

    def __init__(self, folder: Path, tokenizer: CLIPTokenizer, size: int, device: torch.device) -> None:
        self._latents = torch.from_numpy(np.load(folder / LATENTS)).to(device)
        self._ids = torch.from_numpy(_load_token_ids(folder, tokenizer)).to(device)
        self.no_prompt = torch.tensor(tokenize(tokenizer, [""])[0], device=device)
        self._size, self.device = size, device

    def select(self, indices: range) -> tuple[Tensor, Tensor]:
        """Return latents and the first caption of a range of images."""
        chosen = slice(indices.start, indices.stop)
        return self._latents[chosen].float(), self._ids[chosen, 0].long()

    def draw(self) -> tuple[Tensor, Tensor]:
        """Draw a new batch; a share `NO_PROMPT` of it has the empty prompt."""
        chosen = torch.randint(len(self._latents), (self._size,), device=self.device)
        caption = torch.randint(self._ids.shape[1], (self._size,), device=self.device)
        ids = self._ids[chosen, caption].long()
        ids[torch.rand(self._size, device=self.device) < NO_PROMPT] = self.no_prompt
        return self._latents[chosen].float(), ids


def _load_token_ids(folder: Path, tokenizer: CLIPTokenizer) -> np.ndarray:
    """Return token ids, int16 [images, captions, 32]; they are computed once and stored."""
    path = folder / IDS
    if not path.exists():
        rng = random.Random(0)
        captions = read_captions(folder)
        lines = [_insert_nonsense(line, rng) for group in captions for line in group]
        ids = np.array(tokenize(tokenizer, lines), np.int16)
        np.save(path, ids.reshape(len(captions), -1, ids.shape[1]))
    return np.load(path)


def _insert_nonsense(line: str, rng: random.Random) -> str:
    """Insert a meaningless word into some captions, so that unknown words in a prompt do little harm."""
    if rng.random() >= NONSENSE:
        return line
    words = line.split()
    word = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9)))
    words.insert(rng.randint(0, len(words)), word)
    return " ".join(words)


def compute_v_loss(network: nn.Module, latents: Tensor, ids: Tensor, alphas: Tensor) -> Tensor:
    """Return the squared error of v; `alphas` are the cumulative products of the noise schedule, by timestep."""
    count = len(latents)
    # One timestep in each of `count` equal strata: the same mean as independent ones, with less variance.
    spread = (torch.arange(count, device=latents.device) + torch.rand(count, device=latents.device)) / count
    timestep = (spread * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)
    alpha = alphas[timestep].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - alphas[timestep]).sqrt().view(-1, 1, 1, 1)
    noise = torch.randn_like(latents)
    noisy = (alpha * latents + sigma * noise).contiguous(memory_format=torch.channels_last)
    return functional.mse_loss(network(noisy, timestep, ids).float(), alpha * noise - sigma * latents)


def train_denoiser(
    data: Path, tokenizer: CLIPTokenizer, out: Path, minutes: float, compute: ComputeDevice, size: int
) -> None:
    """Train for `minutes` in total, and write the averaged weights.

    Training continues from the checkpoint `out`/unet.pt, or else from the networks in `out`.
    """
    rank = join_processes()
    torch.manual_seed(0)
    warm = (out / "unet").exists()
    network = ConditionedDenoiser.load(out) if warm else ConditionedDenoiser.untrained(tokenizer)
    compute.move(network)
    optimizer = Muon(network.named_parameters(), RATE, excluded=EXCLUDED)
    run = TrainingRun(network, optimizer, Budget(minutes), out / "unet.pt", rank)
    # A continued run must not repeat its batches, and processes must not draw the same ones.
    torch.manual_seed(1000 * run.step + rank)
    batches = LatentBatches(data, tokenizer, size, compute.device)
    alphas = make_noise_schedule().alphas_cumprod.to(compute.device)

    def compute_loss() -> tuple[Tensor, int]:
        latents, ids = batches.draw()
        with compute.autocast():
            return compute_v_loss(network, latents, ids, alphas), size

    train(run, compute_loss, WARM_RATE if warm else RATE, HOLD)
    if not rank:
        save_networks(run, out)


def save_networks(run: TrainingRun, out: Path) -> None:
    """Write the averaged text encoder and UNet in diffusers' layout."""
    with run.averaged_network() as network:
        network.text_encoder.save_pretrained(out / "text_encoder")
        network.unet.save_pretrained(out / "unet")
