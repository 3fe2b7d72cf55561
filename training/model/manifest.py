"""`tintype.json`: what the service must know about the packed model, and the hash of every file."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .latents import PATCH, SHRINK, Components

if TYPE_CHECKING:
    from pathlib import Path

NAME = "tintype-demo"
MANIFEST = "tintype.json"
DEFAULTS = {"steps": 20, "guidance_scale": 3.0, "sampler": "ddim"}
# What helps here, by eye: from 10 steps on the pictures hardly differ; above a guidance of 4 things get lost; and words
# for a look change nothing, since the renderer has but one.
QUALITIES: dict[str, Any] = {"low": {"steps": 10}, **{name: {} for name in ("high", "hd", "xhigh", "max")}}
STYLES: dict[str, Any] = {
    "vivid": {"guidance_scale": 4.0},
    "natural": {"guidance_scale": 2.0},
    **dict.fromkeys(("photo", "digital art", "illustration", "drawing")),
}
# Three levels of the UNet halve the latents twice: sides are multiples of 4 latents, 64 pixels.
UNET_MULTIPLE = 4


def write_manifest(folder: Path, components: Components, defaults: dict[str, Any] | None = None) -> None:
    """Describe the model in `folder`, whose other files must be in place."""
    manifest = {
        "tintype": 1,
        "name": NAME,
        "family": "sd",
        "prediction": "v",
        "native_sizes": [[256, 256]],
        "size_multiple": PATCH * SHRINK * UNET_MULTIPLE,
        "latent_channels": components.basis.shape[1],
        "downscale": PATCH * SHRINK,
        "scaling_factor": 1.0,
        "max_tokens": 32,
        "batched_timestep": True,
        "precision": "fp16-weights",
        "vae_encoder_output": "latent_parameters",
        "defaults": defaults or DEFAULTS,
        "qualities": QUALITIES,
        "styles": STYLES,
        "preview": preview(components),
        "license": "Apache-2.0",
        "files": hashes(folder),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def preview(components: Components) -> dict[str, list[Any]]:
    """Latents [.., c] to colours in 0..1: the mean of a patch is exactly linear in its components."""
    colours = components.inverse.reshape(3, PATCH * PATCH, -1).mean(1).T / 2
    bias = components.mean.reshape(3, PATCH * PATCH).mean(1) / 2 + 0.5
    return {"latent_to_rgb": _rounded(colours), "bias": _rounded(bias)}


def _rounded(numbers: np.ndarray) -> list[Any]:
    return np.round(numbers.astype(float), 5).tolist()


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the manifest, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
