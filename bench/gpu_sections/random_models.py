"""Published architectures with random weights: templates that random numbers fill. Needs no torch."""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tintype.service.models.checkpoint.elsewhere import TOKENIZERS
from tintype.service.models.loading_options import LoadingOptions
from tintype.service.models.runtime.graph import Port
from tintype.service.models.runtime.session import DTYPES
from tintype.service.models.templates.archive import Variant
from tintype.service.models.templates.catalogue import installed, read_index
from tintype.service.models.templates.filling import fill_template
from tintype.service.models.templates.layout import external_weights
from tintype.service.models.templates.onnx_pb2 import ModelProto, TensorProto
from tintype.service.models.weights.pieces import ComponentWeights

from .ways import GraphCall

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tintype.service.models.templates.catalogue import Template
    from tintype.service.models.templates.filled_template import FilledTemplate

    from .context import Context
    from .turns import Feeds

NUMBERS = 65521  # random numbers, which are repeated; a prime, so that rows of a matrix differ
IDS = 1000  # token ids below; every vocabulary has more
TOKENS = 77
TIMESTEP = 500
PIXELS = 8  # of a cell of the latents
TYPES = {
    TensorProto.FLOAT: "tensor(float)",
    TensorProto.FLOAT16: "tensor(float16)",
    TensorProto.INT64: "tensor(int64)",
}
FILE = {"diffusers": "diffusion_pytorch_model.safetensors", "transformers": "model.safetensors"}


SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
}


class Part(NamedTuple):
    """A component of a pipeline: its library and class, and the templates that its weights fill."""

    library: str
    class_name: str
    templates: tuple[str, ...]
    config: Mapping[str, Any] = {}


CLIP_L = Part("transformers", "CLIPTextModel", ("clip-l",))
VAE = ("kl-decoder", "kl-encoder")
PIPELINES: dict[str, tuple[str, dict[str, Part]]] = {
    "sdxl": (
        "StableDiffusionXLPipeline",
        {
            "unet": Part("diffusers", "UNet2DConditionModel", ("sdxl-unet",)),
            "vae": Part("diffusers", "AutoencoderKL", VAE, {"force_upcast": True, "scaling_factor": 0.13025}),
            "text_encoder": CLIP_L,
            "text_encoder_2": Part("transformers", "CLIPTextModelWithProjection", ("clip-g",)),
        },
    ),
    "sd15": (
        "StableDiffusionPipeline",
        {
            "unet": Part("diffusers", "UNet2DConditionModel", ("sd1-unet",)),
            "vae": Part("diffusers", "AutoencoderKL", VAE, {"force_upcast": False, "scaling_factor": 0.18215}),
            "text_encoder": CLIP_L,
        },
    ),
}
"""Pipelines by name: the class in diffusers, and the components."""


class RandomGraph(NamedTuple):
    """A template with random weights: its first output, and its inputs' names, types and shapes on a provider."""

    template: Template
    weights: Path
    source: FilledTemplate
    output: str
    ports: tuple[Port, ...]

    def call(self, rows: int, side: int) -> GraphCall:
        """Return the graph with random inputs for latents of `side` x `side` cells."""
        return GraphCall(self.source, self.output, self.ports, random_inputs(self.ports, rows, side))


def random_graph(context: Context, name: str) -> RandomGraph:
    """Return a template with random float16 weights, which are written to the context's folder once.

    Raises:
        RuntimeError: there is no such template, or too little space on disk.
    """
    known = {each.name: each for each in [*(read_index(context.templates) if context.templates else ()), *installed()]}
    if name not in known:
        raise RuntimeError(f"there is no template {name}")
    template = known[name]
    file = context.work / f"{name}.safetensors"
    if not file.exists():
        write_weights(file, shapes_of(template))
    options = LoadingOptions(cache=context.work / "cache", templates=context.templates)
    source = fill_template(template, template.kind, ComponentWeights((file,)), options, adapters=False)
    half = source.bytes_on(context.provider) < source.bytes_on("cpu")
    return RandomGraph(template, file, source, *read_ports(template.read(Variant(half=half))))


def write_pipeline(context: Context, name: str) -> Path:
    """Return a folder in diffusers' layout with a pipeline of PIPELINES and random float16 weights."""
    folder = context.work / name
    if (folder / "model_index.json").exists():
        return folder
    class_name, parts = PIPELINES[name]
    templates = {each.name: each for each in installed()}
    for part, (library, own, names, extra) in parts.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        shapes = {key: shape for each in names for key, shape in shapes_of(templates[each]).items()}
        shared = context.work / f"{names[0]}.safetensors" if len(names) == 1 else None
        file = folder / part / FILE[library]
        if shared and shared.exists():
            file.hardlink_to(shared)
        else:
            write_weights(file, shapes)
        config = {key: value for each in names for key, value in templates[each].config.items()}
        (folder / part / "config.json").write_text(json.dumps({**config, **extra, "_class_name": own}), "utf-8")
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(SCHEDULER), "utf-8")
    encoders = [part for part in parts if part.startswith("text_encoder")]
    tokenizers = {part.replace("text_encoder", "tokenizer"): ["transformers", "CLIPTokenizer"] for part in encoders}
    for tokenizer in tokenizers:
        shutil.copytree(TOKENIZERS / ("clip" if tokenizer == "tokenizer" else "clip_zero_padded"), folder / tokenizer)
    shutil.copy(TOKENIZERS / "clip_merges.txt.xz", folder)
    classes = {part: [each.library, each.class_name] for part, each in parts.items()}
    index = {"_class_name": class_name, **classes, **tokenizers}
    (folder / "model_index.json").write_text(json.dumps(index), "utf-8")
    return folder


def read_ports(model: bytes) -> tuple[str, tuple[Port, ...]]:
    """Return the first output of a serialized graph, and its inputs."""
    graph = ModelProto.FromString(model).graph
    stored = {tensor.name for tensor in graph.initializer}
    return graph.output[0].name, tuple(_port(value) for value in graph.input if value.name not in stored)


def shapes_of(template: Template) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a template's weights by name."""
    tensors = external_weights(ModelProto.FromString(template.read(Variant())).graph)
    return {name: tuple(tensor.dims) for name, tensor in tensors.items()}


def write_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write random float16 weights that keep activations near 1; scales of norms are ones, biases zeros.

    Raises:
        RuntimeError: there is too little space on disk.
    """
    header, end = {}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + 2 * math.prod(shape)]}
        end += 2 * math.prod(shape)
    if (free := shutil.disk_usage(path.parent).free) < end + 2**30:
        raise RuntimeError(f"{path.name} needs {end >> 20} MiB, but {path.parent} has {free >> 20} MiB")
    numbers = np.random.default_rng(0).standard_normal(NUMBERS, np.float32)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            _write_repeated(file, _block(name, shape, numbers), 2 * math.prod(shape))
    partial.rename(path)


def _block(name: str, shape: Sequence[int], numbers: Any) -> bytes:
    """Return numbers that a tensor repeats."""
    if len(shape) < 2:
        block = np.full(2**12, name.endswith("weight"), np.float16)
    else:
        block = (numbers[: math.prod(shape)] / math.sqrt(math.prod(shape[1:]))).astype(np.float16)
    return block.tobytes()


def _write_repeated(file: Any, block: bytes, size: int) -> None:
    while size:
        file.write(block[:size])
        size -= min(size, len(block))


def _port(value: Any) -> Port:
    tensor = value.type.tensor_type
    shape = tuple(axis.dim_param or axis.dim_value for axis in tensor.shape.dim)
    return Port(value.name, TYPES[tensor.elem_type], shape)


def random_inputs(ports: Sequence[Port], rows: int, side: int, tokens: int = TOKENS) -> Feeds:
    """Return random inputs of a UNet, a decoder or CLIP, for latents of `side` x `side` cells.

    As in the engine, inputs that stay the same at all steps are read-only.
    """
    made = {port.name: _array(port, rows, side, tokens) for port in ports}
    for name, array in made.items():
        array.setflags(write=array.ndim == 4 or name == "timestep")
    return made


def _array(port: Port, rows: int, side: int, tokens: int) -> Any:
    free = {0: rows, 2: side, 3: side} if len(port.shape) == 4 else {0: rows, 1: tokens}
    shape = [axis if isinstance(axis, int) else free[place] for place, axis in enumerate(port.shape)]
    dtype, draw = DTYPES[port.type], np.random.default_rng(len(port.name))
    if port.name == "timestep":
        return np.full(shape, TIMESTEP, dtype)
    if port.name == "time_ids":  # size, crop and size of SDXL
        return np.tile(np.array([side * PIXELS] * 2 + [0, 0] + [side * PIXELS] * 2, dtype), (rows, 1))
    if issubclass(dtype, np.integer):
        return draw.integers(0, IDS, shape, dtype)
    return draw.standard_normal(shape, np.float32).astype(dtype)
