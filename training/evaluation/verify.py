"""Does the packed model still say what the trained networks said?  Same prompts, same seeds, torch against ONNX."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..model.manifest import MANIFEST, hashes
from ..model.rebuild import rebuilt
from .pipeline import Painter

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = ("A serene mountain lake at sunset", "a red circle on a blue background")
# Of 255: what kernels that round differently may add up to over all steps.
TOLERANCE = 2
MEGABYTES = 20


class Unfaithful(Exception):
    """The packed model is not what it should be."""


def verify(folder: Path) -> str:
    """Check hashes, size and pictures of the model in `folder`; a line that says so, or `Unfaithful`."""
    _check_files(folder)
    worst = max(difference(folder, prompt, seed) for seed, prompt in enumerate(PROMPTS))
    if worst > TOLERANCE:
        raise Unfaithful(f"pictures differ from diffusers' by up to {worst} of 255, not {TOLERANCE}")
    return f"verified: {megabytes(folder):.1f} MB, pictures within {worst} of 255 of diffusers' with the same seeds"


def difference(folder: Path, prompt: str, seed: int) -> int:
    """The largest difference of any pixel, 0 to 255, between onnxruntime's picture and torch's."""
    painter = Painter(folder)
    ours = painter.paint([prompt], [seed])[0]
    theirs = rebuilt(folder)(
        prompt,
        guidance_scale=painter.defaults["guidance_scale"],
        num_inference_steps=painter.defaults["steps"],
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type="np",
    ).images[0]
    return int(np.abs(ours.astype(int) - np.rint(theirs * 255).astype(int)).max())


def _check_files(folder: Path) -> None:
    said = json.loads((folder / MANIFEST).read_text())["files"]
    if said != hashes(folder):
        raise Unfaithful(f"{MANIFEST} and the files in {folder} disagree")
    if megabytes(folder) > MEGABYTES:
        raise Unfaithful(f"{megabytes(folder):.1f} MB, more than {MEGABYTES}")


def megabytes(folder: Path) -> float:
    """The size of everything in the folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
