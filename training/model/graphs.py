"""The networks as ONNX graphs, with the input and output names of optimum.

Weights are stored as float16 and cast to float32 at the beginning of the graph. onnxruntime folds these casts when it
loads a session, so files have half the size and the arithmetic is float32.
Constant folding by the exporter is off, so that every initializer keeps the name of its parameter: `read_weights` needs
it. onnxruntime's basic optimizations fold the constants instead, which leaves a quarter less work for each load.
During the folding the weights are inputs of the graph, so that none is transposed, merged or renamed.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tintype.export.console import quiet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    from .autoencoder import PatchAutoencoder

OPSET = 17
HALF = ".half"
# Smaller tensors (norms, biases) stay float32: they need little space, and they are scales.
SMALLEST_HALVED = 512

Axes = dict[str, dict[int, str]]
LATENT_AXES = {0: "batch_size", 2: "latent_height", 3: "latent_width"}
PIXEL_AXES = {0: "batch_size", 2: "image_height", 3: "image_width"}


@dataclass(frozen=True)
class GraphExport:
    """A module to export, with example inputs by name, and names of outputs and axes."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: Sequence[str]
    axes: Axes


class _Denoiser(nn.Module):
    """UNet: sample [n, c, h, w], timestep [n], encoder_hidden_states [n, tokens, dim] -> out_sample [n, c, h, w]."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        return self.unet(sample, timestep, encoder_hidden_states, return_dict=False)[0]


class _TextEncoder(nn.Module):
    """Text encoder: input_ids [n, tokens] -> last_hidden_state [n, tokens, dim], pooler_output [n, dim]."""

    def __init__(self, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        encoded = self.text_encoder(input_ids)
        return encoded.last_hidden_state, encoded.pooler_output


class _Decoder(nn.Module):
    """Decoder: latent_sample [n, c, h, w] -> sample [n, 3, 16h, 16w], in -1..1."""

    def __init__(self, vae: PatchAutoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent_sample: Tensor) -> Tensor:
        return self.vae.decode(latent_sample, return_dict=False)[0]


class _PixelEncoder(nn.Module):
    """Encoder: sample [n, 3, 16h, 16w] in -1..1 -> latent_parameters [n, 2c, h, w]: means, then log variances."""

    def __init__(self, vae: PatchAutoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, sample: Tensor) -> Tensor:
        return self.vae.encoder(sample)


def describe_unet(unet: UNet2DConditionModel) -> GraphExport:
    """Describe the denoiser; its timestep has a batch axis, so that rows can be at different steps."""
    config = unet.config
    inputs = {
        "sample": torch.randn(2, config.in_channels, config.sample_size, config.sample_size),
        "timestep": torch.tensor([500.0, 20.0]),
        "encoder_hidden_states": torch.randn(2, 32, config.cross_attention_dim),
    }
    axes = {
        "sample": LATENT_AXES,
        "timestep": {0: "batch_size"},
        "encoder_hidden_states": {0: "batch_size", 1: "sequence_length"},
        "out_sample": LATENT_AXES,
    }
    return GraphExport(_Denoiser(unet), inputs, ["out_sample"], axes)


def describe_text_encoder(text_encoder: CLIPTextModel) -> GraphExport:
    """Describe the text encoder."""
    ids = torch.randint(0, text_encoder.config.vocab_size, (2, text_encoder.config.max_position_embeddings))
    # Only the batch varies: the tokenizer always pads to the full length.
    axes = {name: {0: "batch_size"} for name in ("input_ids", "last_hidden_state", "pooler_output")}
    return GraphExport(_TextEncoder(text_encoder), {"input_ids": ids}, ["last_hidden_state", "pooler_output"], axes)


def describe_decoder(vae: PatchAutoencoder) -> GraphExport:
    """Describe the decoder from latents to pixels."""
    latents = torch.randn(1, vae.config.latent_channels, 16, 16)
    return GraphExport(
        _Decoder(vae), {"latent_sample": latents}, ["sample"], {"latent_sample": LATENT_AXES, "sample": PIXEL_AXES}
    )


def describe_encoder(vae: PatchAutoencoder) -> GraphExport:
    """Describe the encoder from pixels to latents."""
    axes = {"sample": PIXEL_AXES, "latent_parameters": LATENT_AXES}
    return GraphExport(_PixelEncoder(vae), {"sample": torch.randn(1, 3, 256, 256)}, ["latent_parameters"], axes)


def export_graph(graph: GraphExport) -> ModelProto:
    """Export the module to ONNX, with float16 weights."""
    file = io.BytesIO()
    with quiet():
        torch.onnx.export(
            graph.module.eval().float(),
            tuple(graph.inputs.values()),
            file,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=graph.axes,
            opset_version=OPSET,
            do_constant_folding=False,
            dynamo=False,
        )
    model = fold_constants(onnx.load_from_string(file.getvalue()))
    halve_weights(model, set(graph.module.state_dict()))
    onnx.checker.check_model(model, full_check=True)
    return model


def fold_constants(model: ModelProto) -> ModelProto:
    """Compute the constant parts of the graph; weights and their names stay the same."""
    weights = list(model.graph.initializer)
    without_weights = ModelProto()
    without_weights.CopyFrom(model)
    del without_weights.graph.initializer[:]
    declared = [helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)) for weight in weights]
    without_weights.graph.input.extend(declared)
    optimized = _optimize(without_weights)
    inputs = [entry for entry in optimized.graph.input if entry.name not in {weight.name for weight in weights}]
    del optimized.graph.input[:]
    optimized.graph.input.extend(inputs)
    optimized.graph.initializer.extend(weights)
    # onnxruntime lists every domain that it knows.
    del optimized.opset_import[:]
    optimized.opset_import.extend(model.opset_import)
    return optimized


def _optimize(model: ModelProto) -> ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(path)


def halve_weights(model: ModelProto, parameters: set[str]) -> None:
    """Store every large float32 parameter as float16, with a cast back to its former name.

    Other constants stay float32: an attention mask has values that float16 cannot represent.
    """
    graph, casts = model.graph, []
    for weight in graph.initializer:
        array = numpy_helper.to_array(weight)
        if weight.name not in parameters or array.dtype != np.float32 or array.size < SMALLEST_HALVED:
            continue
        name, half = weight.name, weight.name + HALF
        weight.CopyFrom(numpy_helper.from_array(array.astype(np.float16), half))
        casts.append(helper.make_node("Cast", [half], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def read_weights(model: ModelProto, network: str) -> dict[str, np.ndarray]:
    """Return the float32 parameters of `network`, for example "unet", by name: the inverse of `halve_weights`."""
    prefix = f"{network}."
    stored = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    return {
        name.removeprefix(prefix).removesuffix(HALF): array.astype(np.float32) if array.dtype == np.float16 else array
        for name, array in stored.items()
        if name.startswith(prefix)
    }
