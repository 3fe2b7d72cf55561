"""Writes adapters and embeddings with random numbers for diffusers' pipelines, in published layouts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path

RANK, ALPHA = 4, 6.0


def adaptable_layers(module: Any) -> dict[str, tuple[int, ...]]:
    """Return the layers that published adapters change, with the shapes of their weights."""
    linear: tuple[str, ...] = (
        "to_q",
        "to_v",
        "to_out.0",
        "proj_in",
        "ff.net.2",
        "q_proj",
        "out_proj",
        "fc1",
        "time_emb_proj",
    )
    linear += ("attn.to_qkv_mlp_proj", "ff.linear_in", "single_stream_modulation.linear")  # FLUX.2
    convolutions = ("conv_in", "conv1", "conv2", "conv_shortcut", "samplers.0.conv", "conv_out", "pos_embed.proj")
    changed = (*linear, *convolutions, "time_embedding.linear_1")
    named = module.named_modules()
    return {name: tuple(layer.weight.shape) for name, layer in named if name.endswith(changed)}


def random_factors(shape: tuple[int, ...], random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random A [rank, in] and B [out, rank]; for a convolution A has its kernel, and B is 1x1."""
    out, wide, *kernel = shape
    down = torch.randn(RANK, wide, *kernel, generator=random) / math.prod(shape[1:]) ** 0.5
    return down, torch.randn(out, RANK, *(1 for _ in kernel), generator=random) / RANK**0.5 / 4


def write_peft(pipeline: Any, path: Path) -> None:
    """Write an adapter of the denoiser with PEFT's names."""
    random = torch.Generator().manual_seed(1)
    part = "unet" if hasattr(pipeline, "unet") else "transformer"
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in adaptable_layers(getattr(pipeline, part)).items():
        down, up = random_factors(shape, random)
        tensors |= {f"{part}.{name}.lora_A.weight": down, f"{part}.{name}.lora_B.weight": up}
    save_file(tensors, path)


def write_kohya(pipeline: Any, path: Path) -> None:
    """Write an adapter of denoiser and text encoder in kohya's layout; its alpha differs from its rank."""
    random = torch.Generator().manual_seed(2)
    tensors: dict[str, torch.Tensor] = {}
    encoder = "lora_te1" if hasattr(pipeline, "text_encoder_2") else "lora_te"
    # Published names of CLIP's layers begin with `text_model`, which transformers 5 dropped.
    for begin, part in (("lora_unet", "unet"), (f"{encoder}_text_model", "text_encoder")):
        for name, shape in adaptable_layers(getattr(pipeline, part)).items():
            down, up = random_factors(shape, random)
            key = f"{begin}_{name.replace('.', '_')}"
            tensors |= {
                f"{key}.lora_down.weight": down,
                f"{key}.lora_up.weight": up,
                f"{key}.alpha": torch.tensor(ALPHA),
            }
    save_file(tensors, path)


def load_embedding(
    pipeline: Any, folder: Path, name: str, count: int = 1, key: str = "emb_params", seed: int = 0
) -> None:
    """Write the embedding file NAME of `count` vectors, and load them into diffusers' pipeline."""
    one = _vectors(pipeline.text_encoder, count, seed)
    if getattr(pipeline, "text_encoder_2", None) is None:
        tensors = {key: one}
        pipeline.load_textual_inversion({key: one}, token=name)
    else:
        two = _vectors(pipeline.text_encoder_2, count, seed + 10)
        tensors = {"clip_l": one, "clip_g": two}
        ends = {"text_encoder": pipeline.text_encoder_2, "tokenizer": pipeline.tokenizer_2}
        pipeline.load_textual_inversion({"x": one}, token=name)
        pipeline.load_textual_inversion({"x": two}, token=name, **ends)
    save_file(tensors, folder / f"{name}.safetensors")


def _vectors(encoder: Any, count: int, seed: int) -> torch.Tensor:
    table = encoder.get_input_embeddings().weight
    generated = torch.randn(count, table.shape[1], generator=torch.Generator().manual_seed(seed))
    return generated * float(table.std()) * 3
