"""Verify a packed model: its files match the manifest, and its images match those of torch and diffusers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..model.manifest import MANIFEST, hash_files
from ..model.pack import load_torch_pipeline
from .pipeline import OnnxPipeline

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = ("A serene mountain lake at sunset", "a red circle on a blue background")
# Largest difference of a pixel, of 255: the sum over all steps of kernels that round differently.
TOLERANCE = 2
# Largest size of the folder.
MEGABYTES = 20


class VerificationError(Exception):
    """The packed model differs from its manifest or from the trained networks."""


def verify(folder: Path) -> str:
    """Check hashes, size and images of the model in `folder`; return a line for the user.

    Raises:
        VerificationError: a check failed.
    """
    _check_files(folder)
    worst = max(measure_difference(folder, prompt, seed) for seed, prompt in enumerate(PROMPTS))
    if worst > TOLERANCE:
        raise VerificationError(f"images differ from diffusers by up to {worst} of 255; at most {TOLERANCE} is allowed")
    size = measure_megabytes(folder)
    return f"verified: {size:.1f} MB, images within {worst} of 255 of diffusers with the same seeds"


def measure_difference(folder: Path, prompt: str, seed: int) -> int:
    """Return the largest difference of a pixel, 0 to 255, between the images of onnxruntime and torch."""
    pipeline = OnnxPipeline(folder)
    image = pipeline.generate([prompt], [seed])[0]
    reference = load_torch_pipeline(folder)(
        prompt,
        guidance_scale=pipeline.defaults["guidance_scale"],
        num_inference_steps=pipeline.defaults["steps"],
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type="np",
    ).images[0]
    return int(np.abs(image.astype(int) - np.rint(reference * 255).astype(int)).max())


def _check_files(folder: Path) -> None:
    listed = json.loads((folder / MANIFEST).read_text())["files"]
    if listed != hash_files(folder):
        raise VerificationError(f"the files in {folder} do not match the hashes in {MANIFEST}")
    if measure_megabytes(folder) > MEGABYTES:
        raise VerificationError(f"{folder} has {measure_megabytes(folder):.1f} MB; at most {MEGABYTES} are allowed")


def measure_megabytes(folder: Path) -> float:
    """Return the size of all files in the folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
