"""Train the decoder from latents to images.

The decoder first learns from the latents of rendered images, with a little noise. When the denoiser is trained, the
decoder also learns from imperfect latents, so that it tolerates the denoiser's errors: noisy latents that the denoiser
has denoised in one step.
Images are cut into crops: the decoder is convolutional, and a crop with details teaches more than empty sky.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from .denoiser_training import LatentBatches
from .model.autoencoder import PatchAutoencoder
from .model.latents import GRID, PATCH, SHRINK, PatchBasis
from .model.networks import make_noise_schedule
from .muon import Muon
from .scenes.dataset import LATENTS, open_images
from .training_loop import Budget, ComputeDevice, TrainingRun, train

if TYPE_CHECKING:
    from pathlib import Path

RATE = 2e-3
HOLD = 0.3
# The largest standard deviation of the noise on latents.
NOISE = 0.05
# The side of a crop, in latents, and the number of places of which the one with most details is used.
CROP = 8
TRIES = 3
# Pixels per latent.
SIDE = PATCH * SHRINK
IMPERFECT = "imperfect.npy"
# Timesteps (of 1000) from which the denoiser takes one step: late ones, which decide only details.
LATE = (40, 320)
BATCH = 64


class CropBatches:
    """Random batches of crops: latents [n, c, 8, 8] and pixels [n, 3, 128, 128] in -1..1.

    True and imperfect latents are drawn with equal probability.
    """

    def __init__(self, data: Path, size: int, compute: ComputeDevice) -> None:
        self._images = open_images(data)
        paths = [data / name for name in (LATENTS, IMPERFECT)]
        self._sources = [np.load(path, mmap_mode="r") for path in paths if path.exists()]
        self._size, self._device = size, compute.device
        self._rng = np.random.default_rng()

    def draw(self) -> tuple[Tensor, Tensor]:
        """Draw a new batch: latents and pixels."""
        pairs = [self._crop() for _ in range(self._size)]
        latents = torch.from_numpy(np.stack([pair[0] for pair in pairs])).to(self._device).float()
        pixels = torch.from_numpy(np.stack([pair[1] for pair in pairs])).to(self._device).permute(0, 3, 1, 2)
        return latents, pixels.float() / 127.5 - 1

    def _crop(self) -> tuple[np.ndarray, np.ndarray]:
        source = self._sources[self._rng.integers(len(self._sources))]
        index = int(self._rng.integers(min(len(self._images), len(source))))
        latents = source[index]
        places = self._rng.integers(0, GRID - CROP + 1, (TRIES, 2))
        row, column = max(
            places, key=lambda at: _measure_detail(latents[:, at[0] : at[0] + CROP, at[1] : at[1] + CROP])
        )
        part = self._images[index, row * SIDE : (row + CROP) * SIDE, column * SIDE : (column + CROP) * SIDE]
        return latents[:, row : row + CROP, column : column + CROP], part


def _measure_detail(latents: np.ndarray) -> float:
    """Return the mean magnitude of all components beyond the first three, which are plain colours."""
    return float(np.abs(latents[3:].astype(np.float32)).mean())


def compute_image_loss(decoded: Tensor, target: Tensor) -> Tensor:
    """Return the absolute error of pixels, of their differences (edges), and of their local means (colour)."""
    error = decoded - target
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + edges + 0.5 * functional.avg_pool2d(error, 8).abs().mean()


def train_decoder(data: Path, out: Path, minutes: float, compute: ComputeDevice, size: int) -> None:
    """Train for `minutes` in total, from the checkpoint `out`/decoder.pt if it exists; write `out`/vae."""
    torch.manual_seed(0)
    model = PatchAutoencoder.from_basis(PatchBasis.load(out / "components.npz"))
    decoder = model.decoder
    compute.move(decoder)
    optimizer = Muon(decoder.named_parameters(), RATE, excluded=("linear", "conv_in"))
    run = TrainingRun(decoder, optimizer, Budget(minutes), out / "decoder.pt")
    batches = CropBatches(data, size, compute)

    def compute_loss() -> tuple[Tensor, int]:
        latents, pixels = batches.draw()
        latents = latents + NOISE * torch.rand(size, 1, 1, 1, device=latents.device) * torch.randn_like(latents)
        with compute.autocast():
            decoded = decoder(latents.contiguous(memory_format=torch.channels_last))
        return compute_image_loss(decoded.float(), pixels), size

    train(run, compute_loss, RATE, HOLD)
    with run.averaged_network():
        model.cpu().save_pretrained(out / "vae")


@torch.no_grad()
def write_imperfect_latents(
    data: Path, out: Path, tokenizer: CLIPTokenizer, compute: ComputeDevice, count: int
) -> None:
    """Write the first `count` latents, imperfectly denoised: `data`/imperfect.npy, float16 [count, c, 16, 16]."""
    encoder = CLIPTextModel.from_pretrained(out / "text_encoder").to(compute.device).eval()
    unet = UNet2DConditionModel.from_pretrained(out / "unet").to(compute.device).eval()
    alphas = make_noise_schedule().alphas_cumprod.to(compute.device)
    batches = LatentBatches(data, tokenizer, BATCH, compute.device)
    imperfect = []
    for low in range(0, count, BATCH):
        latents, ids = batches.select(range(low, min(low + BATCH, count)))
        imperfect.append(_denoise_once(unet, latents, encoder(ids)[0], alphas).half().cpu().numpy())
    np.save(data / IMPERFECT, np.concatenate(imperfect))


def _denoise_once(unet: UNet2DConditionModel, latents: Tensor, embeds: Tensor, alphas: Tensor) -> Tensor:
    timestep = torch.randint(*LATE, (len(latents),), device=latents.device)
    alpha, sigma = alphas[timestep].sqrt().view(-1, 1, 1, 1), (1 - alphas[timestep]).sqrt().view(-1, 1, 1, 1)
    noisy = alpha * latents + sigma * torch.randn_like(latents)
    return alpha * noisy - sigma * unet(noisy, timestep, embeds).sample
