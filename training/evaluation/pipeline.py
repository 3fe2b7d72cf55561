"""A model folder asked for pictures in the plainest way: onnxruntime, DDIM, one prompt after another.

For measuring and looking only; the service is the one to serve.  DDIM with v-prediction: Song et al., "Denoising
diffusion implicit models", 2021; Salimans and Ho, 2022.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import CLIPTokenizer

from ..model.manifest import MANIFEST
from ..model.networks import noise_schedule
from ..model.tokenizer import token_ids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Floats = NDArray[np.float32]
PARTS = ("text_encoder", "unet", "vae_decoder")


def start(seed: int, channels: int, side: int = 16) -> Floats:
    """The noise [1, c, side, side] that diffusers starts from with `torch.Generator("cpu").manual_seed(seed)`."""
    drawn = torch.randn(1, channels, side, side, generator=torch.Generator("cpu").manual_seed(seed))
    return drawn.numpy()


class Painter:
    """Sessions of one model folder."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        cpu = ["CPUExecutionProvider"]
        self._sessions = {
            part: onnxruntime.InferenceSession(folder / part / "model.onnx", options, providers=cpu) for part in PARTS
        }
        kinds = {entry.name: entry.type for entry in self._sessions["unet"].get_inputs()}
        self._time = np.int64 if kinds["timestep"] == "tensor(int64)" else np.float32
        self._tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.manifest = json.loads((folder / MANIFEST).read_text())
        self.defaults = self.manifest["defaults"]

    def paint(
        self, prompts: Sequence[str], seeds: Sequence[int], steps: int | None = None, scale: float | None = None
    ) -> NDArray[np.uint8]:
        """Pictures uint8 [n, 256, 256, 3]."""
        return pixels(self._decode(self.latents(prompts, seeds, steps, scale)))

    def latents(self, prompts: Sequence[str], seeds: Sequence[int], steps: int | None, scale: float | None) -> Floats:
        """Finished latents [n, c, 16, 16], one row per prompt and seed."""
        x = np.concatenate([start(seed, self.manifest["latent_channels"]) for seed in seeds])
        embeds = self._embeds([""] * len(prompts) + list(prompts))
        guidance = np.float32(scale or self.defaults["guidance_scale"])
        for timestep, now, then in timesteps(steps or self.defaults["steps"]):
            plain, asked = np.split(self._v(np.concatenate([x, x]), timestep, embeds), 2)
            x = ddim(x, plain + guidance * (asked - plain), now, then)
        return x

    def _embeds(self, prompts: list[str]) -> Floats:
        ids = np.array(token_ids(self._tokenizer, prompts), np.int64)
        return self._sessions["text_encoder"].run(["last_hidden_state"], {"input_ids": ids})[0]

    def _v(self, x: Floats, timestep: int, embeds: Floats) -> Floats:
        feed = {"sample": x, "timestep": np.full(len(x), timestep, self._time), "encoder_hidden_states": embeds}
        return self._sessions["unet"].run(None, feed)[0]

    def _decode(self, latents: Floats) -> Floats:
        """One at a time: at 256 by 256 a batch only costs memory."""
        decode = self._sessions["vae_decoder"].run
        return np.concatenate([decode(None, {"latent_sample": row[None]})[0] for row in latents])


def timesteps(steps: int) -> list[tuple[int, float, float]]:
    """(timestep, share of signal now, share after the step) with trailing spacing; the last share is 1."""
    schedule = noise_schedule()
    schedule.set_timesteps(steps)
    keep = [float(schedule.alphas_cumprod[timestep]) for timestep in schedule.timesteps]
    return list(zip((int(timestep) for timestep in schedule.timesteps), keep, [*keep[1:], 1.0], strict=True))


def ddim(x: Floats, v: Floats, now: float, then: float) -> Floats:
    """One step of DDIM without noise."""
    signal, spoil = np.float32(now**0.5), np.float32((1 - now) ** 0.5)
    denoised, noise = signal * x - spoil * v, signal * v + spoil * x
    return (np.float32(then**0.5) * denoised + np.float32((1 - then) ** 0.5) * noise).astype(np.float32)


def pixels(decoded: Floats) -> NDArray[np.uint8]:
    """uint8 [n, h, w, 3] of decoded pictures [n, 3, h, w] in -1..1."""
    return np.rint((decoded.clip(-1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
