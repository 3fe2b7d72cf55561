"""A minimal pipeline over a model folder: onnxruntime, DDIM, batches of prompts.

It measures the model; the service serves it. DDIM with v-prediction: Song et al., "Denoising diffusion implicit
models", 2021; Salimans and Ho, "Progressive distillation for fast sampling of diffusion models", 2022.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from transformers import CLIPTokenizer

from ..model.manifest import MANIFEST
from ..model.networks import make_noise_schedule
from ..model.tokenizer import tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..model.latents import Floats
    from ..scenes.dataset import ImageArray

COMPONENTS = ("text_encoder", "unet", "vae_decoder")


class OnnxPipeline:
    """The sessions and the tokenizer of one model folder."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        cpu = ["CPUExecutionProvider"]
        self._sessions = {
            component: onnxruntime.InferenceSession(folder / component / "model.onnx", options, providers=cpu)
            for component in COMPONENTS
        }
        types = {entry.name: entry.type for entry in self._sessions["unet"].get_inputs()}
        self._timestep_dtype = np.int64 if types["timestep"] == "tensor(int64)" else np.float32
        self._tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.manifest = json.loads((folder / MANIFEST).read_text())
        self.defaults = self.manifest["defaults"]

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], steps: int | None = None, scale: float | None = None
    ) -> ImageArray:
        """Generate images, uint8 [n, 256, 256, 3]; `steps` and the guidance `scale` default to the manifest's."""
        return to_uint8(self._decode(self.denoise(prompts, seeds, steps, scale)))

    def denoise(self, prompts: Sequence[str], seeds: Sequence[int], steps: int | None, scale: float | None) -> Floats:
        """Return final latents [n, c, 16, 16], one row per prompt and seed."""
        x = np.concatenate([draw_noise(seed, self.manifest["latent_channels"]) for seed in seeds])
        guidance = np.float32(self.defaults["guidance_scale"] if scale is None else scale)
        embeds = self._encode(list(prompts) if guidance == 1 else [""] * len(prompts) + list(prompts))
        for timestep, now, then in list_timesteps(steps or self.defaults["steps"]):
            x = ddim_step(x, self._predict_guided_v(x, timestep, embeds, guidance), now, then)
        return x

    def _predict_guided_v(self, x: Floats, timestep: int, embeds: Floats, guidance: np.float32) -> Floats:
        if guidance == 1:
            return self._predict_v(x, timestep, embeds)
        without, given = np.split(self._predict_v(np.concatenate([x, x]), timestep, embeds), 2)
        guided: Floats = without + guidance * (given - without)
        return guided

    def _encode(self, prompts: list[str]) -> Floats:
        ids = np.array(tokenize(self._tokenizer, prompts), np.int64)
        return self._sessions["text_encoder"].run(["last_hidden_state"], {"input_ids": ids})[0]

    def _predict_v(self, x: Floats, timestep: int, embeds: Floats) -> Floats:
        timesteps = np.full(len(x), timestep, self._timestep_dtype)
        feed = {"sample": x, "timestep": timesteps, "encoder_hidden_states": embeds}
        return self._sessions["unet"].run(None, feed)[0]

    def _decode(self, latents: Floats) -> Floats:
        """Decode rows one at a time: at 256 by 256 a batch needs more memory and is not faster."""
        decode = self._sessions["vae_decoder"].run
        return np.concatenate([decode(None, {"latent_sample": row[None]})[0] for row in latents])


def draw_noise(seed: int, channels: int, side: int = 16) -> Floats:
    """Draw the noise [1, c, side, side] that diffusers draws with `torch.Generator("cpu").manual_seed(seed)`."""
    noise = torch.randn(1, channels, side, side, generator=torch.Generator("cpu").manual_seed(seed))
    return noise.numpy()


def list_timesteps(steps: int) -> list[tuple[int, float, float]]:
    """List (timestep, alpha product now, alpha product after the step) with trailing spacing; the last product is 1."""
    schedule = make_noise_schedule()
    schedule.set_timesteps(steps)
    alphas = [float(schedule.alphas_cumprod[timestep]) for timestep in schedule.timesteps]
    return list(zip((int(timestep) for timestep in schedule.timesteps), alphas, [*alphas[1:], 1.0], strict=True))


def ddim_step(x: Floats, v: Floats, now: float, then: float) -> Floats:
    """Take one deterministic DDIM step from the alpha product `now` to `then`."""
    alpha, sigma = np.float32(now**0.5), np.float32((1 - now) ** 0.5)
    denoised, noise = alpha * x - sigma * v, alpha * v + sigma * x
    return (np.float32(then**0.5) * denoised + np.float32((1 - then) ** 0.5) * noise).astype(np.float32)


def to_uint8(decoded: Floats) -> ImageArray:
    """Convert decoded images [n, 3, h, w] in -1..1 to uint8 [n, h, w, 3]."""
    return np.rint((decoded.clip(-1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
