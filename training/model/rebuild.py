"""diffusers' own pipeline with the weights of a packed model, for comparing the two.

The weights are in the repository once, inside the ONNX graphs; their initializers bear the parameters' names.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import onnx
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .autoencoder import PatchAutoencoder
from .graphs import weights_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def rebuilt(folder: Path) -> StableDiffusionPipeline:
    """The model in `folder` as a float32 `StableDiffusionPipeline` on the CPU."""
    text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
    unet = UNet2DConditionModel.from_config(_config(folder / "unet"))
    vae = PatchAutoencoder.from_config(_config(folder / "vae_decoder"))
    _fill(text_encoder, "text_encoder", [folder / "text_encoder"])
    _fill(unet, "unet", [folder / "unet"])
    _fill(vae, "vae", [folder / "vae_decoder", folder / "vae_encoder"])
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=unet,
        scheduler=DDIMScheduler.from_pretrained(folder / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _config(folder: Path) -> dict[str, object]:
    return json.loads((folder / "config.json").read_text())


def _fill(network: nn.Module, name: str, folders: list[Path]) -> None:
    """Every parameter from the graphs; a missing or a surplus one is an error, not a guess."""
    found: dict[str, NDArray[Any]] = {}
    for folder in folders:
        found |= weights_of(onnx.load(folder / "model.onnx"), name)
    network.load_state_dict({key: torch.from_numpy(array.copy()) for key, array in found.items()})
    network.eval()
