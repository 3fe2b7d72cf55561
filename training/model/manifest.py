"""`tintype.json`: the properties of the packed model that the service needs, and the hash of every file."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .latents import PATCH, SHRINK, PatchBasis

if TYPE_CHECKING:
    from pathlib import Path

NAME = "tintype-demo"
MANIFEST = "tintype.json"
# Chosen by eye: from 10 steps on, images hardly differ; above a guidance of 4, objects disappear; style words change
# nothing, because the renderer has only one style.
PRESETS: dict[str, Any] = {
    "defaults": {"steps": 20, "guidance_scale": 3.0, "sampler": "ddim"},
    "qualities": {"low": {"steps": 10}, **{name: {} for name in ("high", "hd", "xhigh", "max")}},
    "styles": {
        "vivid": {"guidance_scale": 4.0},
        "natural": {"guidance_scale": 2.0},
        **dict.fromkeys(("photo", "digital art", "illustration", "drawing")),
    },
}
# The presets of a distilled model: guidance is in its weights, and a little more of it makes it vivid.
DISTILLED: dict[str, Any] = {
    "defaults": {"steps": 4, "guidance_scale": 1.0, "sampler": "ddim"},
    "qualities": {name: {"steps": 20} for name in ("high", "hd", "xhigh", "max")},
    "styles": PRESETS["styles"] | {"vivid": {"guidance_scale": 1.5}, "natural": {}},
}
# The three levels of the UNet halve the latents twice: sides must be multiples of 4 latents, 64 pixels.
UNET_MULTIPLE = 4


def write_manifest(folder: Path, patches: PatchBasis, presets: dict[str, Any]) -> None:
    """Write the manifest of the model in `folder`, whose other files must exist, with `PRESETS` or `DISTILLED`."""
    manifest = {
        "tintype": 1,
        "name": NAME,
        "family": "sd",
        "prediction": "v",
        "native_sizes": [[256, 256]],
        "size_multiple": PATCH * SHRINK * UNET_MULTIPLE,
        "latent_channels": patches.basis.shape[1],
        "downscale": PATCH * SHRINK,
        "scaling_factor": 1.0,
        "max_tokens": 32,
        "batched_timestep": True,
        "precision": "fp16-weights",
        "clip_layer": 0,  # the text encoder's graph has no earlier states, so clip skip has no effect
        "vae_encoder_output": "latent_parameters",
        **presets,
        "preview": latent_preview(patches),
        "license": "Apache-2.0",
        "files": hash_files(folder),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def latent_preview(patches: PatchBasis) -> dict[str, list[Any]]:
    """Return the linear map from latents [.., c] to colours in 0..1.

    The mean colour of a patch is an exact linear function of its components.
    """
    colours = patches.inverse.reshape(3, PATCH * PATCH, -1).mean(1).T / 2
    bias = patches.mean.reshape(3, PATCH * PATCH).mean(1) / 2 + 0.5
    return {"latent_to_rgb": _round(colours), "bias": _round(bias)}


def _round(numbers: np.ndarray) -> list[Any]:
    return np.round(numbers.astype(float), 5).tolist()


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file except the manifest, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
