"""`tintype.json`: what a service must know of a model before it loads it, and the hash of every file of the folder.

`MANIFEST_VERSION` stands under the key `tintype`. Sizes are [width, height] in pixels; `downscale` is pixels per cell
of the latents; `preview` is in `export.preview`. The service's reader is in its `models` folder.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from .errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from .families import Family
    from .preview import Fit

MANIFEST = "tintype.json"
MANIFEST_VERSION = 1
# diffusers' prediction_type -> ours
PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"}
CHUNK = 2**20


def describe(pipeline: Any, family: Family, *, name: str, precision: str, license: str, preview: Fit) -> dict[str, Any]:  # noqa: A002 - the manifest's own word
    """Return the manifest of an exported diffusers `pipeline`, without the hashes of its files.

    Raises Refused where it predicts what no sampler here can follow.
    """
    unet, vae = pipeline.unet.config, pipeline.vae.config
    downscale = 2 ** (len(vae.block_out_channels) - 1)
    side = unet.sample_size * downscale
    return {
        "tintype": MANIFEST_VERSION,
        "name": name,
        "family": family.name,
        "prediction": _prediction(pipeline.scheduler.config),
        "native_sizes": [[side, side]],
        "size_multiple": downscale * 2 ** (len(unet.block_out_channels) - 1),
        "latent_channels": vae.latent_channels,
        "downscale": downscale,
        "scaling_factor": vae.scaling_factor,
        "shift_factor": vae.shift_factor or 0.0,
        "max_tokens": pipeline.tokenizer.model_max_length,
        "batched_timestep": True,
        "precision": precision,
        "defaults": {
            "steps": family.steps,
            "guidance_scale": family.guidance_scale,
            "guidance_rescale": 0.0,
        },
        "preview": preview.as_json(),
        "license": license,
    }


def write(folder: Path, description: dict[str, Any]) -> None:
    """Write `description` and the hashes of all other files of `folder`, which must be in place, to its manifest."""
    manifest = description | {"files": hashes(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file but the manifest, by its path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): _hash(path) for path in paths}


def _prediction(noise: Any) -> str:
    kind = str(getattr(noise, "prediction_type", "epsilon"))
    if kind not in PREDICTIONS:
        raise Refused(f"prediction_type {kind!r} can't be served; those that can: {', '.join(PREDICTIONS)}")
    return PREDICTIONS[kind]


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
