"""Train the built-in model: render its images, train and pack its networks, score it.

    python -m tintype.training --help

- `scenes` renders images and writes captions. It needs numpy and Pillow only, and so does `evaluation.judges`.
- `model` has the networks, their ONNX graphs and the model folder.
- `evaluation` generates images with a packed model, scores it, and compares it with diffusers.

Everything else needs the extra `export`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import StableDiffusionPipeline


def torch_pipeline(folder: Path) -> StableDiffusionPipeline:
    """Load the packed model in `folder` as diffusers' `StableDiffusionPipeline`, float32 on the CPU."""
    from .model.pack import load_torch_pipeline  # noqa: PLC0415 - `scenes` needs no torch

    return load_torch_pipeline(folder)
