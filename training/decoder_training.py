"""Train the decoder from latents to images.

The decoder first learns from the latents of rendered images, with a little noise. When the denoiser is distilled, the
decoder is refined with imperfect latents, so that it tolerates the denoiser's errors:

- noisy latents of rendered images that the denoiser has denoised, whose images are known;
- latents that the denoiser made from noise alone. Their images are unknown, but the exact encoder must find the same
  mean colours in them again. Single latents have the denoiser's errors, which would show as a texture.

In both a critic compares what the decoder draws with rendered images (`adversary`), for crisp edges.
Images are cut into crops: the decoder is convolutional, and a crop with details teaches more than empty sky.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .adversary import Adversary, PatchCritic
from .denoiser_training import ConditionedDenoiser, LatentBatches
from .distillation import STEPS
from .model.autoencoder import PatchAutoencoder
from .model.latents import GRID, PATCH, SHRINK, PatchBasis
from .model.pack import STUDENT
from .model.warm_start import copy_decoder
from .muon import Muon
from .sampling import Sampler
from .scenes.dataset import LATENTS, open_images
from .training_loop import Budget, ComputeDevice, TrainingRun, train

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import CLIPTokenizer

RATE, REFINING_RATE = 1.5e-3, 8e-4
HOLD = 0.3
# The largest standard deviation of the noise on latents.
NOISE = 0.05
# The side of a crop, in latents, and the number of places of which the one with most details is used.
CROP = 8
TRIES = 3
# Pixels per latent.
SIDE = PATCH * SHRINK
IMPERFECT, SAMPLES = "imperfect.npy", "samples.npy"
# Timesteps (of 1000) from which the denoiser takes one step: late ones, which decide only details.
LATE = (40, 320)
BATCH = 64
# The first components are plain colours.
COLOURS = 3
# The share of a batch that has no known image.
SAMPLED = 0.3
# The size of the critic's gradient, in sizes of the gradient of all other losses.
BLAME = 0.12
# The weight of the distance between the critic's features.
FEATURES = 4.0


class CropBatches:
    """Random batches of crops: latents [n, c, 8, 8] and pixels [n, 3, 128, 128] in -1..1.

    True and imperfect latents are drawn with equal probability.
    """

    def __init__(self, data: Path, compute: ComputeDevice) -> None:
        self._images = open_images(data)
        paths = [data / name for name in (LATENTS, IMPERFECT)]
        self._sources = [np.load(path, mmap_mode="r") for path in paths if path.exists()]
        self._samples = np.load(data / SAMPLES) if (data / SAMPLES).exists() else None
        self._device = compute.device
        self._rng = np.random.default_rng()

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw a new batch: latents and pixels."""
        pairs = [self._crop() for _ in range(count)]
        pixels = torch.from_numpy(np.stack([pair[1] for pair in pairs])).to(self._device).permute(0, 3, 1, 2)
        return self._stack([pair[0] for pair in pairs]), pixels.float() / 127.5 - 1

    def draw_samples(self, count: int) -> Tensor:
        """Draw latents that the denoiser made from noise alone."""
        if self._samples is None:
            raise FileNotFoundError(f"{SAMPLES} is missing: the step `refine` writes it")
        chosen = self._rng.integers(len(self._samples), size=count)
        return self._stack([cut(self._samples[index], *self._choose_place(self._samples[index])) for index in chosen])

    def _stack(self, latents: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(latents)).to(self._device).float()

    def _choose_place(self, latents: np.ndarray) -> tuple[int, int]:
        """Return the row and the column of the crop with most details among some random ones."""
        places = self._rng.integers(0, GRID - CROP + 1, (TRIES, 2)).tolist()
        row, column = max(places, key=lambda place: _measure_detail(cut(latents, *place)))
        return row, column

    def _crop(self) -> tuple[np.ndarray, np.ndarray]:
        source = self._sources[self._rng.integers(len(self._sources))]
        index = int(self._rng.integers(min(len(self._images), len(source))))
        row, column = self._choose_place(source[index])
        part = self._images[index, row * SIDE : (row + CROP) * SIDE, column * SIDE : (column + CROP) * SIDE]
        return cut(source[index], row, column), part


def cut(latents: np.ndarray, row: int, column: int) -> np.ndarray:
    """Cut a crop out of latents."""
    return latents[:, row : row + CROP, column : column + CROP]


def _measure_detail(latents: np.ndarray) -> float:
    """Return the mean magnitude of all components beyond the plain colours."""
    return float(np.abs(latents[COLOURS:].astype(np.float32)).mean())


def compute_image_loss(decoded: Tensor, target: Tensor) -> Tensor:
    """Return the absolute error of pixels, of their differences (edges), and of their local means (colour)."""
    error = decoded - target
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + edges + 0.5 * functional.avg_pool2d(error, 8).abs().mean()


class Restoration:
    """The loss of the decoder without a critic: rendered images, from their latents with a little noise."""

    def __init__(self, model: PatchAutoencoder, batches: CropBatches, size: int, compute: ComputeDevice) -> None:
        self._model, self._batches, self._size, self._compute = model, batches, size, compute

    def __call__(self) -> tuple[Tensor, int]:
        """Return the loss of a new batch, and its number of samples."""
        latents, pixels = self._batches.draw(self._size)
        return compute_image_loss(self._decode(self._add_noise(latents)), pixels), self._size

    def _add_noise(self, latents: Tensor) -> Tensor:
        deviation = NOISE * torch.rand(len(latents), 1, 1, 1, device=latents.device)
        return latents + deviation * torch.randn_like(latents)

    def _decode(self, latents: Tensor) -> Tensor:
        with self._compute.autocast():
            decoded: Tensor = self._model.decoder(latents.contiguous(memory_format=torch.channels_last))
        return decoded.float()


class Refinement(Restoration):
    """The loss of the decoder with a critic, and with latents that the denoiser made."""

    def __init__(self, model: PatchAutoencoder, batches: CropBatches, size: int, compute: ComputeDevice) -> None:
        super().__init__(model, batches, size, compute)
        self._adversary = Adversary(PatchCritic((3, 32, 64, 96), (2, 2, 2)), compute.device)

    def __call__(self) -> tuple[Tensor, int]:
        """Return the loss of a new batch, and its number of samples."""
        sampled = round(self._size * SAMPLED)
        latents, pixels = self._batches.draw(self._size - sampled)
        made = self._batches.draw_samples(sampled)
        decoded = self._decode(torch.cat([self._add_noise(latents), made]))
        known, unknown = decoded[: len(latents)], decoded[len(latents) :]
        found = self._model.encoder.components(unknown)
        loss = compute_image_loss(known, pixels) + compare_colours(found, made)
        self._adversary.improve(pixels, decoded[torch.randperm(len(decoded))[: len(pixels)]])
        blame, distance = self._adversary.compare(decoded, pixels)
        return add_gradients(decoded, loss, blame + FEATURES * distance), self._size


def compare_colours(found: Tensor, made: Tensor) -> Tensor:
    """Return the difference of the mean colours of 4 by 4 latents; single ones have the denoiser's errors."""
    return functional.avg_pool2d((found - made)[:, :COLOURS], 4).abs().mean()


def add_gradients(decoded: Tensor, loss: Tensor, blame: Tensor) -> Tensor:
    """Return a loss with the value of `loss`, whose gradient adds that of `blame`, scaled to `BLAME` of its size.

    The sizes are compared at the decoded pixels, as VQGAN does at its last layer (Esser et al., "Taming transformers
    for high-resolution image synthesis", 2021).
    """
    (wanted,) = torch.autograd.grad(loss, decoded, retain_graph=True)
    (other,) = torch.autograd.grad(blame, decoded)
    gradient = wanted + BLAME * wanted.norm() / (other.norm() + 1e-9) * other
    surrogate = (decoded * gradient.detach()).sum()
    return surrogate - surrogate.detach() + loss.detach()


def train_decoder(
    data: Path, out: Path, minutes: float, compute: ComputeDevice, size: int, *, refine: bool = False
) -> None:
    """Train for `minutes` in total, and write `out`/vae.

    Training continues from the checkpoint `out`/decoder.pt, or `out`/refined.pt with `refine`, or else from `out`/vae.
    """
    torch.manual_seed(0)
    model = load_autoencoder(out)
    decoder = model.decoder
    compute.move(model)
    model.encoder.requires_grad_(requires_grad=False)
    optimizer = Muon(decoder.named_parameters(), RATE, excluded=("linear", "conv_in"))
    run = TrainingRun(decoder, optimizer, Budget(minutes), out / ("refined.pt" if refine else "decoder.pt"))
    loss = (Refinement if refine else Restoration)(model, CropBatches(data, compute), size, compute)
    train(run, loss, REFINING_RATE if refine else RATE, HOLD)
    with run.averaged_network():
        model.cpu().save_pretrained(out / "vae")


def load_autoencoder(folder: Path) -> PatchAutoencoder:
    """Return the autoencoder in `folder`/vae, or else an untrained one; it has as many blocks as new ones have."""
    model = PatchAutoencoder.from_basis(PatchBasis.load(folder / "components.npz"))
    if (folder / "vae").exists():
        former = PatchAutoencoder.from_pretrained(folder / "vae")
        copy_decoder(former.decoder, model.decoder)
        model.encoder.load_state_dict(former.encoder.state_dict())
    return model


@torch.no_grad()
def write_imperfect_latents(
    data: Path, out: Path, tokenizer: CLIPTokenizer, compute: ComputeDevice, counts: tuple[int, int]
) -> None:
    """Write what the student in `out`/student makes: latents, float16 [count, c, 16, 16].

    `data`/imperfect.npy has the first `counts[0]` latents, noised and denoised; `data`/samples.npy has `counts[1]`
    that are made from noise.
    """
    network = ConditionedDenoiser.load(out, STUDENT).to(compute.device).eval()
    sampler = Sampler(network, compute.device)
    batches = LatentBatches(data, tokenizer, BATCH, compute.device)
    denoised, made = [], []
    for low in range(0, counts[0], BATCH):
        latents, ids = batches.select(range(low, min(low + BATCH, counts[0])))
        denoised.append(sampler.renew(latents, ids, *LATE).half().cpu().numpy())
    for _ in range(0, counts[1], BATCH):
        latents, ids = batches.draw()
        made.append(sampler.sample(ids, torch.randn_like(latents), STEPS).half().cpu().numpy())
    np.save(data / IMPERFECT, np.concatenate(denoised))
    np.save(data / SAMPLES, np.concatenate(made))
