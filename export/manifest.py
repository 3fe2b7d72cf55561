"""`tintype.json`: what a service must know of a model before it loads it, and the hash of every file of the folder.

`MANIFEST_VERSION` stands under the key `tintype`. Sizes are [width, height] in pixels; `downscale` is pixels per cell
of the latents; `preview` is in `export.preview`. The service's reader is in its `models` folder.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tintype.service.models.folder.checks import sha256
from tintype.service.numerics import Diffusion, InvalidChoice

from .errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .families import Defaults, Family

MANIFEST = "tintype.json"
# Of an export under way (`export.resume`): no file of the model.
STATE = "export.json"
MANIFEST_VERSION = 1
# The word by which the published folders of one-step UNets are known: stabilityai/sd-turbo, stabilityai/sdxl-turbo.
TURBO = "turbo"
ENCODER, CLIP = "text_encoder", "CLIP"
# FLUX.1 was trained at 1,024 pixels, and packs cells two by two.
FLUX_SIDE, FLUX_PATCH = 128, 2


def describe(pipeline: Any, family: Family, source: str, **facts: Any) -> dict[str, Any]:
    """Return the manifest of an exported diffusers `pipeline`, with further `facts`, without the hashes of its files.

    `source` is the name of the folder or repository that it came from. Raises Refused where no sampler here can follow
    the scheduler's configuration.
    """
    denoiser, vae, noise = getattr(pipeline, family.denoiser).config, pipeline.vae.config, pipeline.scheduler
    downscale = 2 ** (len(vae.get("block_out_channels") or vae.encoder_block_out_channels) - 1)
    names = (source, *(str(config.get("_name_or_path") or "") for config in (pipeline.config, denoiser)))
    defaults = _defaults(family, denoiser, noise.config, names)
    side = _side(denoiser) * downscale
    return {
        "tintype": MANIFEST_VERSION,
        "family": family.name,
        "prediction": _prediction(noise),
        "native_sizes": [[side, side]],
        "size_multiple": downscale * _multiple(denoiser),
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


def _max_tokens(pipeline: Any, family: Family, defaults: Defaults) -> int:
    """Return the length of the longest text encoder's input, in tokens.

    CLIP's is that of its tokenizer, others' that which pipelines ask for. Raises Refused where two CLIPs read
    differently, whose embeddings lie side by side.
    """
    encoders = [part for part in family.parts if part.startswith(ENCODER)]
    lengths = {
        part: _clip_tokens(pipeline, part) for part in encoders if CLIP in type(getattr(pipeline, part)).__name__
    }
    if len(set(lengths.values())) > 1:
        said = " and ".join(f"{part} reads {length} tokens" for part, length in lengths.items())
        raise Refused(f"{said}: both must read as many, for their embeddings lie side by side")
    return max(lengths.values()) if len(lengths) == len(encoders) else defaults.max_tokens


def _clip_tokens(pipeline: Any, part: str) -> int:
    tokenizer = part.replace(ENCODER, "tokenizer")
    length, places = (
        getattr(pipeline, tokenizer).model_max_length,
        getattr(pipeline, part).config.max_position_embeddings,
    )
    if length > places:
        raise Refused(f"{tokenizer}: model_max_length {length} is more than the {places} places of {part}")
    return int(length)


def _side(denoiser: Any) -> int:
    """Return the side that the denoiser was trained on, in cells of the latents; FLUX does not tell its own."""
    return denoiser.get("sample_size") or FLUX_SIDE


def _multiple(denoiser: Any) -> int:
    """Return what sides in cells are multiples of: a UNet halves them between its blocks, others make patches."""
    if blocks := denoiser.get("down_block_types"):
        return 2 ** (len(blocks) - 1)
    return max(denoiser.patch_size, 1 if denoiser.get("sample_size") else FLUX_PATCH)


def _defaults(family: Family, denoiser: Any, noise: Any, names: Iterable[str]) -> Defaults:
    """Return the defaults of its family, or those of models distilled to few steps.

    FLUX.1 schnell takes no guidance as an input and has levels that no size shifts; a model freed of its distillation
    shifts them. A distilled UNet (SD-Turbo, SDXL-Turbo) has the architecture and the settings of an ordinary one:
    timesteps from the last level on (`trailing`) and a prediction of epsilon are necessary, and the name decides.
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
    """Write `description` and the hashes of all other files of `folder`, which must be in place, to its manifest."""
    manifest = description | {"files": hashes(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the model but the manifest, by its path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (MANIFEST, STATE))
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def _prediction(noise: Any) -> str:
    """Return what the model predicts, as the service reads it."""
    try:
        return str(Diffusion.from_config({**noise.config, "_class_name": type(noise).__name__}).prediction)
    except InvalidChoice as error:
        raise Refused(f"scheduler/scheduler_config.json: {error}") from None
