"""Write `tintype.json`: the facts that the service needs before it loads a model, and the hash of every file.

The key `tintype` holds `MANIFEST_VERSION`. Sizes are [width, height] in pixels; `downscale` is pixels per latent cell;
`export.preview` describes `preview`. The service reads the file in `service.models.folder.manifest`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tintype.service.models.files import sha256
from tintype.service.numerics import Diffusion, InvalidChoice

from .errors import ExportRefusal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .families import Family, RequestDefaults

MANIFEST = "tintype.json"
# The record of an unfinished export (`export.resume`), which is not a file of the model.
STATE = "export.json"
MANIFEST_VERSION = 1
# The word that marks one-step UNets in names of repositories: stabilityai/sd-turbo, stabilityai/sdxl-turbo.
TURBO = "turbo"
ENCODER, CLIP = "text_encoder", "CLIP"
# Latent cells: FLUX.1 was trained at 1,024 pixels, which are 128 cells, and packs cells two by two.
FLUX_SIDE, FLUX_PATCH = 128, 2


def describe(pipeline: Any, family: Family, source: str, **facts: Any) -> dict[str, Any]:
    """Return the manifest of a diffusers `pipeline` with further `facts`, but without the hashes of its files.

    `source` is the name of the source folder or repository. Raises ExportRefusal if no sampler supports the
    scheduler's configuration.
    """
    denoiser, vae, noise = getattr(pipeline, family.denoiser).config, pipeline.vae.config, pipeline.scheduler
    downscale = 2 ** (len(vae.get("block_out_channels") or vae.encoder_block_out_channels) - 1)
    names = (source, *(str(config.get("_name_or_path") or "") for config in (pipeline.config, denoiser)))
    defaults = _defaults(family, denoiser, noise.config, names)
    side = _native_side(denoiser) * downscale
    return {
        "tintype": MANIFEST_VERSION,
        "family": family.name,
        "prediction": _prediction(noise),
        "native_sizes": [[side, side]],
        "size_multiple": downscale * _size_multiple(denoiser),
        "latent_channels": vae.latent_channels,
        "downscale": downscale,
        "scaling_factor": vae.scaling_factor,
        "shift_factor": vae.get("shift_factor") or 0.0,
        "max_tokens": _max_tokens(pipeline, family, defaults),
        "batched_timestep": True,
        "defaults": {
            "steps": defaults.steps,
            "guidance_scale": defaults.guidance_scale,
            "guidance_rescale": 0.0,
        },
        **facts,
    }


def _max_tokens(pipeline: Any, family: Family, defaults: RequestDefaults) -> int:
    """Return the longest input of the text encoders, in tokens.

    CLIP's limit is that of its tokenizer; other encoders have the limit that diffusers' pipelines use. Raises
    ExportRefusal if two CLIPs have different limits, because their embeddings are concatenated.
    """
    encoders = [part for part in family.parts if part.startswith(ENCODER)]
    lengths = {
        part: _clip_tokens(pipeline, part) for part in encoders if CLIP in type(getattr(pipeline, part)).__name__
    }
    if len(set(lengths.values())) > 1:
        limits = " and ".join(f"{part} reads {length} tokens" for part, length in lengths.items())
        raise ExportRefusal(f"{limits}: the numbers must be equal, because the embeddings are concatenated")
    return max(lengths.values()) if len(lengths) == len(encoders) else defaults.max_tokens


def _clip_tokens(pipeline: Any, part: str) -> int:
    tokenizer = part.replace(ENCODER, "tokenizer")
    length, positions = (
        getattr(pipeline, tokenizer).model_max_length,
        getattr(pipeline, part).config.max_position_embeddings,
    )
    if length > positions:
        raise ExportRefusal(f"{tokenizer}: model_max_length {length} exceeds the {positions} positions of {part}")
    return int(length)


def _native_side(denoiser: Any) -> int:
    """Return the side that the denoiser was trained on, in latent cells; FLUX's configuration does not contain it."""
    return denoiser.get("sample_size") or FLUX_SIDE


def _size_multiple(denoiser: Any) -> int:
    """Return the number of cells that must divide every side: UNets halve sides between blocks, others make patches."""
    if blocks := denoiser.get("down_block_types"):
        return 2 ** (len(blocks) - 1)
    return max(denoiser.patch_size, 1 if denoiser.get("sample_size") else FLUX_PATCH)


def _defaults(family: Family, denoiser: Any, noise: Any, names: Iterable[str]) -> RequestDefaults:
    """Return the family's defaults, or those for models distilled to few steps.

    FLUX.1 schnell has no guidance input, and its noise levels do not depend on the size; those of a de-distilled model
    do. A distilled UNet (SD-Turbo, SDXL-Turbo) has the architecture and settings of an ordinary one. It is recognised
    by its name, if it also predicts epsilon from `trailing` timesteps.
    """
    if family.distilled is None:
        return family.defaults
    if "guidance_embeds" in denoiser:
        fixed = not denoiser.guidance_embeds and not noise.get("use_dynamic_shifting")
        return family.distilled if fixed else family.defaults
    trailing = noise.get("timestep_spacing") == "trailing" and noise.get("prediction_type") == "epsilon"
    named = any(TURBO in re.split(r"[^a-z0-9]+", name.lower().rsplit("/", 1)[-1]) for name in names)
    return family.distilled if trailing and named else family.defaults


def write(folder: Path, description: dict[str, Any]) -> None:
    """Write the manifest of `folder`: `description`, and the hashes of all other files, which must be in place."""
    manifest = description | {"files": file_hashes(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the model except the manifest, by path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (MANIFEST, STATE))
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def _prediction(noise: Any) -> str:
    """Return the prediction type, as the service reads it."""
    try:
        return str(Diffusion.from_config({**noise.config, "_class_name": type(noise).__name__}).prediction)
    except InvalidChoice as error:
        raise ExportRefusal(f"scheduler/scheduler_config.json: {error}") from None
