"""The decoder from latents to pictures, and the encoder that image-to-image needs.

Three stages: `inner` learns pictures of 128 by 128, `outer` grows it to 256 by 256, `encoder` fits diffusers' encoder
to the latents that the components give.
Pictures are cut into crops: the decoder is convolutional, so a crop with something in it teaches more than empty sky.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from .latents import GRID, Components
from .muon import Muon
from .networks import DECODER_BLOCKS, autoencoder, grown
from .training import Budget, Compute, Course, averaged_weights, run

RATE = 3e-3
HOLD = 0.3
# Decoding must forgive the denoiser its small errors.
NOISE = 0.10
CROP = 8
TRIES = 3


class Crops:
    """Random crops: latents [n, c, 8, 8] and their pictures [n, 3, side, side] in -1..1."""

    def __init__(self, data: Path, components: Components, size: int, compute: Compute) -> None:
        self._pictures = np.load(data / "pictures.npy", mmap_mode="r")
        self._latents = np.load(data / "latents.npy", mmap_mode="r")
        self._size, self._device = size, compute.device
        self._draw = np.random.default_rng()
        del components

    def draw(self, factor: int) -> tuple[Tensor, Tensor]:
        """Crops whose pictures are `factor` times as large as their latents: 8 or 16."""
        pairs = [self._crop() for _ in range(self._size)]
        latents = torch.from_numpy(np.stack([pair[0] for pair in pairs])).to(self._device).float()
        pixels = torch.from_numpy(np.stack([pair[1] for pair in pairs])).to(self._device).permute(0, 3, 1, 2)
        pixels = pixels.float() / 127.5 - 1
        return latents, functional.avg_pool2d(pixels, 2) if factor == 8 else pixels

    def _crop(self) -> tuple[np.ndarray, np.ndarray]:
        chosen = int(self._draw.integers(len(self._pictures)))
        latents = self._latents[chosen]
        # Of a few places the one with most in it: components beyond the three plain colours say how much that is.
        places = self._draw.integers(0, GRID - CROP + 1, (TRIES, 2))
        row, column = max(places, key=lambda at: _busy(latents[:, at[0] : at[0] + CROP, at[1] : at[1] + CROP]))
        part = self._pictures[chosen, row * 16 : (row + CROP) * 16, column * 16 : (column + CROP) * 16]
        return latents[:, row : row + CROP, column : column + CROP], part


def _busy(latents: np.ndarray) -> float:
    return float(np.abs(latents[3:].astype(np.float32)).mean())


def picture_loss(decoded: Tensor, wanted: Tensor) -> Tensor:
    """Absolute error of the pixels, of their differences (edges) and of their local means (colour)."""
    error = decoded - wanted
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + edges + 0.5 * functional.avg_pool2d(error, 8).abs().mean()


def train_decoder(stage: str, data: Path, out: Path, minutes: float, compute: Compute, size: int) -> None:
    """Train stage `inner` or `outer` for `minutes`, going on from its checkpoint in `out` if there is one."""
    torch.manual_seed(0)
    factor = 8 if stage == "inner" else 16
    model = _start(stage, out)
    decoder = model.decoder
    ready = compute.prepared(decoder)
    course = _course(decoder, "conv_out", Budget(minutes), out / f"decoder-{stage}.pt")
    crops = Crops(data, Components.load(out / "components.npz"), size, compute)

    def loss_of() -> tuple[Tensor, int]:
        latents, pixels = crops.draw(factor)
        latents = latents + NOISE * torch.rand(size, 1, 1, 1, device=latents.device) * torch.randn_like(latents)
        with compute.products():
            decoded = ready(latents.contiguous(memory_format=torch.channels_last))
        return picture_loss(decoded.float(), pixels), size

    run(course, loss_of, RATE, HOLD)
    with averaged_weights(course):
        model.cpu().save_pretrained(out / f"vae-{stage}")


def _start(stage: str, out: Path) -> AutoencoderKL:
    if stage == "inner":
        return autoencoder(DECODER_BLOCKS[1:])
    return grown(AutoencoderKL.from_pretrained(out / "vae-inner"))


def _course(network: nn.Module, excluded: str, budget: Budget, path: Path) -> Course:
    return Course(network, Muon(network.named_parameters(), RATE, excluded=(excluded,)), budget, path)
