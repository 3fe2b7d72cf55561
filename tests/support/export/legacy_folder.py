"""Write a pipeline as diffusers' script convert_stable_diffusion_checkpoint_to_onnx.py did.

The names of inputs and outputs, the free axes and the opset are those of the script. Its folders have no configurations
of components; `model_index.json` names the class OnnxStableDiffusionPipeline.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import onnx
import torch
from diffusers import DiffusionPipeline

from tintype.export.console import quiet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OPSET = 14
IMAGE_AXES = {0: "batch", 1: "channels", 2: "height", 3: "width"}


class Part(torch.nn.Module):
    """A module that calls a function and returns what the script exports."""

    def __init__(self, module: torch.nn.Module, call: Any) -> None:
        super().__init__()
        self.module, self._call = module, call

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Return the outputs of the graph."""
        return self._call(self.module, *inputs)


def write_legacy_folder(source: Path, folder: Path, *, class_name: str = "OnnxStableDiffusionPipeline") -> Path:
    """Export the Stable Diffusion pipeline in `source` to `folder`, as the script does."""
    pipeline = DiffusionPipeline.from_pretrained(source)
    with quiet(), torch.no_grad():
        _export_parts(pipeline, folder)
    for name in ("tokenizer", "scheduler"):
        shutil.copytree(source / name, folder / name)
    index: dict[str, Any] = {
        name: ["diffusers", "OnnxRuntimeModel"] for name in ("text_encoder", "unet", "vae_decoder", "vae_encoder")
    }
    own = json.loads((source / "model_index.json").read_text("utf-8"))
    index |= {name: own[name] for name in ("tokenizer", "scheduler")}
    index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": class_name, **index}), "utf-8")
    return folder


def _export_parts(pipeline: Any, folder: Path) -> None:
    unet, vae, text = pipeline.unet, pipeline.vae, pipeline.text_encoder
    tokens, latents = pipeline.tokenizer.model_max_length, unet.config.sample_size
    side = latents * pipeline.vae_scale_factor
    _export(
        Part(text, lambda module, ids: tuple(module(ids)[:2])),
        {"input_ids": torch.zeros(1, tokens, dtype=torch.int32)},
        {"input_ids": {0: "batch", 1: "sequence"}},
        ["last_hidden_state", "pooler_output"],
        folder / "text_encoder",
    )
    _export(
        Part(unet, lambda module, *inputs: module(*inputs, return_dict=False)[0]),
        {
            "sample": torch.randn(2, unet.config.in_channels, latents, latents),
            "timestep": torch.tensor([0, 1]),
            "encoder_hidden_states": torch.randn(2, tokens, unet.config.cross_attention_dim),
        },
        {"sample": IMAGE_AXES, "timestep": {0: "batch"}, "encoder_hidden_states": {0: "batch", 1: "sequence"}},
        ["out_sample"],
        folder / "unet",
    )
    _collect_weights(folder / "unet/model.onnx")
    _export(
        Part(vae, lambda module, sample: module.encode(sample, return_dict=False)[0].sample()),
        {"sample": torch.randn(1, 3, side, side)},
        {"sample": IMAGE_AXES},
        ["latent_sample"],
        folder / "vae_encoder",
    )
    _export(
        Part(vae, lambda module, sample: module.decode(sample, return_dict=False)[0]),
        {"latent_sample": torch.randn(1, vae.config.latent_channels, latents, latents)},
        {"latent_sample": IMAGE_AXES},
        ["sample"],
        folder / "vae_decoder",
    )


def _export(
    module: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    axes: Mapping[str, Mapping[int, str]],
    outputs: list[str],
    folder: Path,
) -> None:
    folder.mkdir(parents=True)
    torch.onnx.export(
        module,
        tuple(inputs.values()),
        folder / "model.onnx",
        input_names=list(inputs),
        output_names=outputs,
        dynamic_axes={name: dict(each) for name, each in axes.items()},
        do_constant_folding=True,
        opset_version=OPSET,
        dynamo=False,
    )


def _collect_weights(path: Path) -> None:
    """Move the weights of a graph into weights.pb next to it."""
    model = onnx.load(path)
    path.unlink()
    onnx.save_model(
        model, path, save_as_external_data=True, all_tensors_to_one_file=True, location="weights.pb", size_threshold=0
    )
