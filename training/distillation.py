"""Distil the denoiser: four steps without guidance shall give what many steps with guidance gave.

The trained denoiser is the teacher; the student starts with its weights. At the four timesteps of the shortest
sampling, the student learns the v whose DDIM step ends where several guided steps of the teacher end (Salimans and Ho,
"Progressive distillation for fast sampling of diffusion models", 2022). At all other timesteps it learns a guided v
(Meng et al., "On distillation of guided diffusion models", 2023), so that it serves any number of steps. That v is the
true one of the noise and the rendered image, moved by what the teacher's guidance adds: so the student goes on to learn
from the images.

Its inputs are noisy latents of rendered images and, for the last step, what its own first steps gave: so it learns to
mend its own errors. There a critic also compares its final latents with true ones (`adversary`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from .adversary import Adversary, PatchCritic
from .denoiser_training import EXCLUDED, ConditionedDenoiser, LatentBatches, save_networks
from .model.latents import CHANNELS
from .model.networks import WIDTH
from .model.pack import STUDENT
from .muon import Muon
from .sampling import END, TIMESTEPS, Diffusion, Sampler, list_grid
from .training_loop import Budget, ComputeDevice, TrainingRun, join_processes, train

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import CLIPTokenizer

STEPS = 4
GUIDANCE = 3.0
# Steps of the teacher for one of the student's.
SUBSTEPS = 2
RATE = 7e-4
HOLD = 0.4
# Parts of a batch: noisy latents at a timestep of the grid, at any timestep, and results of the student's first steps.
SHARES = (0.35, 0.35, 0.3)
# The weight of the critic's loss.
BLAME = 0.02
# Timesteps from the grid within which the student learns nothing else.
NEIGHBOURHOOD = 8


class Teacher:
    """The frozen denoiser, with guidance."""

    def __init__(self, network: ConditionedDenoiser, no_prompt: Tensor, diffusion: Diffusion) -> None:
        self._network = network.eval().requires_grad_(requires_grad=False)
        self._diffusion = diffusion
        self._nothing = network.text_encoder(no_prompt[None])[0]

    @torch.no_grad()
    def encode(self, ids: Tensor) -> Tensor:
        """Return the embeddings of prompts, after those of as many empty prompts."""
        return torch.cat([self._nothing.expand(len(ids), -1, -1), self._network.text_encoder(ids)[0]])

    @torch.no_grad()
    def predict(self, x: Tensor, timestep: Tensor, embeds: Tensor) -> tuple[Tensor, Tensor]:
        """Predict v, and what guidance adds to it."""
        twice = torch.cat([x, x]).contiguous(memory_format=torch.channels_last)
        without, given = self._network.unet(twice, timestep.repeat(2), embeds).sample.float().chunk(2)
        return given, (GUIDANCE - 1) * (given - without)

    def walk(self, x: Tensor, now: Tensor, then: Tensor, embeds: Tensor) -> Tensor:
        """Take `SUBSTEPS` steps from timesteps `now` to `then`."""
        last = torch.where(then == END, -1, then)
        for substep in range(SUBSTEPS):
            start = now + (last - now) * substep // SUBSTEPS
            end = now + (last - now) * (substep + 1) // SUBSTEPS
            v, guidance = self.predict(x, start, embeds)
            x = self._diffusion.step(x, v + guidance, start, torch.where(end < 0, END, end))
        return x


class Distillation:
    """The loss of the student."""

    def __init__(self, student: ConditionedDenoiser, teacher: Teacher, batches: LatentBatches, size: int) -> None:
        self._student, self._teacher, self._batches = student, teacher, batches
        device = batches.device
        self._diffusion, self._grid = Diffusion.on(device), list_grid(STEPS, device)
        self._sampler = Sampler(student, device)
        self._parts = [round(size * share) for share in SHARES]
        critic = PatchCritic((CHANNELS, 64, 128, 128), (1, 2, 1), condition=WIDTH)
        self._adversary = Adversary(critic, device)

    def __call__(self) -> tuple[Tensor, int]:
        """Return the loss of a new batch, and its number of samples."""
        latents, ids = self._batches.draw()
        count, (jumps, others, _) = len(latents), self._parts
        second, third = slice(jumps, jumps + others), slice(jumps + others, count)
        place = torch.randint(STEPS, (count,), device=latents.device)
        place[third] = STEPS - 1
        now, then = self._grid[place], self._grid[place + 1]
        now[second] = self._draw_timesteps(others)
        x = self._diffusion.add_noise(latents, now)
        x[third] = self._sampler.sample(ids[third], torch.randn_like(x[third]), STEPS, STEPS - 1)
        target = self._find_targets(x, (now, then), ids, (latents, second))
        x = x.contiguous(memory_format=torch.channels_last)
        v = self._student(x, now, ids).float()
        loss = functional.mse_loss(v, target)
        made = self._diffusion.step(x[third], v[third], now[third], then[third])
        return loss + BLAME * self._blame(made, latents[third], ids[third]), count

    def _draw_timesteps(self, count: int) -> Tensor:
        """Draw timesteps that are not next to one of the grid."""
        drawn = torch.randint(TIMESTEPS, (4 * count,), device=self._grid.device)
        far = ((drawn[:, None] - self._grid).abs() > NEIGHBOURHOOD).all(1)
        return drawn[far][:count]

    def _find_targets(
        self, x: Tensor, times: tuple[Tensor, Tensor], ids: Tensor, known: tuple[Tensor, slice]
    ) -> Tensor:
        """Return the targets: for the slice of `known` the guided v, for all others that of several guided steps."""
        (now, then), (latents, single) = times, known
        embeds = self._teacher.encode(ids)
        jumping = torch.ones(len(x), dtype=torch.bool, device=x.device)
        jumping[single] = False
        target = self._diffusion.find_v(x, latents, now, torch.full_like(now, END))
        target[single] += self._teacher.predict(x[single], now[single], embeds[(~jumping).repeat(2)])[1]
        start, end = now[jumping], then[jumping]
        reached = self._teacher.walk(x[jumping], start, end, embeds[jumping.repeat(2)])
        target[jumping] = self._diffusion.find_v(x[jumping], reached, start, end)
        return target

    def _blame(self, made: Tensor, latents: Tensor, ids: Tensor) -> Tensor:
        with torch.no_grad():
            summary = self._student.text_encoder(ids)[0].mean(1)
        self._adversary.improve(latents, made, summary)
        return self._adversary.blame(made, summary)


def distil(data: Path, tokenizer: CLIPTokenizer, out: Path, minutes: float, compute: ComputeDevice, size: int) -> None:
    """Train for `minutes` in total, from the checkpoint `out`/student.pt if it exists; write `out`/student."""
    rank = join_processes()
    torch.manual_seed(0)
    batches = LatentBatches(data, tokenizer, size, compute.device)
    diffusion = Diffusion.on(compute.device)
    networks = [ConditionedDenoiser.load(out) for _ in range(2)]
    for network in networks:
        compute.move(network)
    student, teacher = networks[0], Teacher(networks[1], batches.no_prompt, diffusion)
    optimizer = Muon(student.named_parameters(), RATE, excluded=EXCLUDED)
    run = TrainingRun(student, optimizer, Budget(minutes), out / "student.pt", rank)
    torch.manual_seed(1000 * run.step + rank)
    compute_loss = Distillation(student, teacher, batches, size)

    def compute_in_precision() -> tuple[Tensor, int]:
        with compute.autocast():
            return compute_loss()

    train(run, compute_in_precision, RATE, HOLD)
    if not rank:
        save_networks(run, out / STUDENT)
