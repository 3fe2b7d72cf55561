"""The built-in model: renderer, training, packing and scoring of a tiny Stable Diffusion of our own.

    python -m tintype.training --help

`spec`, `captions`, `render` and `judges` need numpy and Pillow only; training and packing need the `export` extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import StableDiffusionPipeline


def torch_pipeline(folder: Path) -> StableDiffusionPipeline:
    """Diffusers' `StableDiffusionPipeline`, float32 on the CPU, with the weights of the packed model in `folder`."""
    from .model.rebuild import rebuilt  # noqa: PLC0415 - the rest of this package needs no torch

    return rebuilt(folder)
