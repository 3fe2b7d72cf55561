"""The trained networks as a model folder that the service loads: diffusers' layout, with ONNX graphs in it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import onnx
from diffusers import UNet2DConditionModel
from onnx import ModelProto
from transformers import CLIPTextModel

from .autoencoder import PatchAutoencoder
from .graphs import decoder_graph, encoder_graph, exported, text_graph, unet_graph
from .latents import Components
from .manifest import write_manifest
from .networks import noise_schedule

if TYPE_CHECKING:
    from pathlib import Path

TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
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


def pack(trained: Path, folder: Path, defaults: dict[str, Any] | None = None) -> None:
    """Write the model folder from `trained` (text_encoder/, unet/, vae/, tokenizer/, components.npz).

    It is made beside its place and moved there when it is whole: someone may be reading the old one.
    """
    made = folder.with_name(folder.name + ".partial")
    shutil.rmtree(made, ignore_errors=True)
    _fill(trained, made, defaults)
    shutil.rmtree(folder, ignore_errors=True)
    made.replace(folder)


def _fill(trained: Path, folder: Path, defaults: dict[str, Any] | None) -> None:
    text_encoder = CLIPTextModel.from_pretrained(trained / "text_encoder")
    unet = UNet2DConditionModel.from_pretrained(trained / "unet")
    vae = PatchAutoencoder.from_pretrained(trained / "vae")
    _write(folder / "text_encoder", exported(text_graph(text_encoder)), trained / "text_encoder")
    _write(folder / "unet", exported(unet_graph(unet)), trained / "unet")
    _write(folder / "vae_decoder", exported(decoder_graph(vae)), trained / "vae")
    _write(folder / "vae_encoder", exported(encoder_graph(vae)), trained / "vae")
    (folder / "tokenizer").mkdir()
    for name in TOKENIZER_FILES:
        shutil.copyfile(trained / "tokenizer" / name, folder / "tokenizer" / name)
    noise_schedule().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")
    write_manifest(folder, Components.load(trained / "components.npz"), defaults)


def _write(folder: Path, model: ModelProto, source: Path) -> None:
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    config = json.loads((source / "config.json").read_text())
    # Where the weights lay while training is nobody's business.
    config.pop("_name_or_path", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
