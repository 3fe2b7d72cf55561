"""Pack the trained networks as a model folder that the service loads, and load them back into diffusers.

The folder has diffusers' layout, with ONNX graphs. The weights are stored once, inside the graphs; their initializers
have the names of the parameters.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import onnx
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .autoencoder import PatchAutoencoder
from .graphs import (
    GraphExport,
    describe_decoder,
    describe_encoder,
    describe_text_encoder,
    describe_unet,
    export_graph,
    read_weights,
)
from .latents import PatchBasis
from .manifest import DISTILLED, PRESETS, write_manifest
from .networks import make_noise_schedule

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# The folder of the distilled text encoder and UNet.
STUDENT = "student"
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")
INDEX: dict[str, Any] = {
    "_class_name": "ORTStableDiffusionPipeline",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["optimum.onnxruntime.modeling_diffusion", "ORTTextEncoder"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["optimum.onnxruntime.modeling_diffusion", "ORTUnet"],
    "vae": ["optimum.onnxruntime.modeling_diffusion", "ORTVae"],
}


def pack(trained: Path, folder: Path) -> None:
    """Write the model folder from `trained` (text_encoder/, unet/, vae/, tokenizer/, components.npz).

    The distilled networks in `trained`/student are preferred.

    It is written next to `folder` and moved there when it is complete, because a process may be reading the old one.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    _write_folder(trained, partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def _write_folder(trained: Path, folder: Path) -> None:
    distilled = (trained / STUDENT).exists()
    denoiser = trained / STUDENT if distilled else trained
    text_encoder = CLIPTextModel.from_pretrained(denoiser / "text_encoder")
    unet = UNet2DConditionModel.from_pretrained(denoiser / "unet")
    vae = PatchAutoencoder.from_pretrained(trained / "vae")
    _write_component(folder / "text_encoder", describe_text_encoder(text_encoder), denoiser / "text_encoder")
    _write_component(folder / "unet", describe_unet(unet), denoiser / "unet")
    _write_component(folder / "vae_decoder", describe_decoder(vae), trained / "vae")
    _write_component(folder / "vae_encoder", describe_encoder(vae), trained / "vae")
    (folder / "tokenizer").mkdir()
    for name in TOKENIZER_FILES:
        shutil.copyfile(trained / "tokenizer" / name, folder / "tokenizer" / name)
    make_noise_schedule().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")
    write_manifest(folder, PatchBasis.load(trained / "components.npz"), DISTILLED if distilled else PRESETS)


def _write_component(folder: Path, graph: GraphExport, source: Path) -> None:
    folder.mkdir(parents=True)
    onnx.save(export_graph(graph), folder / "model.onnx")
    config = json.loads((source / "config.json").read_text())
    # The path of the trained weights does not belong in the published configuration.
    config.pop("_name_or_path", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_torch_pipeline(folder: Path) -> StableDiffusionPipeline:
    """Load the model in `folder` as a float32 `StableDiffusionPipeline` on the CPU."""
    text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
    unet = UNet2DConditionModel.from_config(_read_config(folder / "unet"))
    vae = PatchAutoencoder.from_config(_read_config(folder / "vae_decoder"))
    _load_weights(text_encoder, "text_encoder", [folder / "text_encoder"])
    _load_weights(unet, "unet", [folder / "unet"])
    _load_weights(vae, "vae", [folder / "vae_decoder", folder / "vae_encoder"])
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


def _read_config(folder: Path) -> dict[str, object]:
    return json.loads((folder / "config.json").read_text())


def _load_weights(network: nn.Module, name: str, folders: list[Path]) -> None:
    """Load every parameter from the graphs; a missing or an unexpected one is an error."""
    weights: dict[str, NDArray[Any]] = {}
    for folder in folders:
        weights |= read_weights(onnx.load(folder / "model.onnx"), name)
    own = network.state_dict().keys()
    # transformers 5 dropped CLIP's prefix, which the graphs keep: as published.
    names = {name: name if name in own else name.removeprefix("text_model.") for name in weights}
    network.load_state_dict({names[name]: torch.from_numpy(array.copy()) for name, array in weights.items()})
    network.eval()
