"""The decoder from latents to pictures.

It learns to decode the latents of rendered pictures, first with a little noise on them, and when the denoiser is there
also as that leaves them (`imperfect`).
Pictures are cut into crops: the decoder is convolutional, so a crop with something in it teaches more than empty sky.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .model.autoencoder import PatchAutoencoder
from .model.latents import GRID, PATCH, SHRINK, Components
from .muon import Muon
from .training_loop import Budget, Compute, Course, averaged_weights, run

if TYPE_CHECKING:
    from pathlib import Path

RATE = 2e-3
HOLD = 0.3
# White noise on the latents, up to this standard deviation.
NOISE = 0.05
CROP = 8
TRIES = 3
SIDE = PATCH * SHRINK
# Where latents come from, in equal parts.
SOURCES = ("latents.npy", "imperfect.npy")


class Crops:
    """Random crops: latents [n, c, 8, 8] and their pictures [n, 3, 128, 128] in -1..1."""

    def __init__(self, data: Path, size: int, compute: Compute) -> None:
        self._pictures = np.load(data / "pictures.npy", mmap_mode="r")
        self._sources = [np.load(path, mmap_mode="r") for name in SOURCES if (path := data / name).exists()]
        self._size, self._device = size, compute.device
        self._draw = np.random.default_rng()

    def draw(self) -> tuple[Tensor, Tensor]:
        """A fresh batch: latents and pixels."""
        pairs = [self._crop() for _ in range(self._size)]
        latents = torch.from_numpy(np.stack([pair[0] for pair in pairs])).to(self._device).float()
        pixels = torch.from_numpy(np.stack([pair[1] for pair in pairs])).to(self._device).permute(0, 3, 1, 2)
        return latents, pixels.float() / 127.5 - 1

    def _crop(self) -> tuple[np.ndarray, np.ndarray]:
        source = self._sources[self._draw.integers(len(self._sources))]
        chosen = int(self._draw.integers(min(len(self._pictures), len(source))))
        latents = source[chosen]
        places = self._draw.integers(0, GRID - CROP + 1, (TRIES, 2))
        row, column = max(places, key=lambda at: _busy(latents[:, at[0] : at[0] + CROP, at[1] : at[1] + CROP]))
        part = self._pictures[chosen, row * SIDE : (row + CROP) * SIDE, column * SIDE : (column + CROP) * SIDE]
        return latents[:, row : row + CROP, column : column + CROP], part


def _busy(latents: np.ndarray) -> float:
    """How much there is to see: components beyond the three plain colours say so."""
    return float(np.abs(latents[3:].astype(np.float32)).mean())


def picture_loss(decoded: Tensor, wanted: Tensor) -> Tensor:
    """Absolute error of the pixels, of their differences (edges) and of their local means (colour)."""
    error = decoded - wanted
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + edges + 0.5 * functional.avg_pool2d(error, 8).abs().mean()


def train_decoder(data: Path, out: Path, minutes: float, compute: Compute, size: int) -> None:
    """Train for `minutes` in all, going on from `out`/decoder.pt if it is there; the result is `out`/vae."""
    torch.manual_seed(0)
    model = PatchAutoencoder.of(Components.load(out / "components.npz"))
    decoder = model.decoder
    compute.place(decoder)
    optimizer = Muon(decoder.named_parameters(), RATE, excluded=("linear", "conv_in"))
    course = Course(decoder, optimizer, Budget(minutes), out / "decoder.pt")
    crops = Crops(data, size, compute)

    def loss_of() -> tuple[Tensor, int]:
        latents, pixels = crops.draw()
        latents = latents + NOISE * torch.rand(size, 1, 1, 1, device=latents.device) * torch.randn_like(latents)
        with compute.products():
            decoded = decoder(latents.contiguous(memory_format=torch.channels_last))
        return picture_loss(decoded.float(), pixels), size

    run(course, loss_of, RATE, HOLD)
    with averaged_weights(course):
        model.cpu().save_pretrained(out / "vae")
