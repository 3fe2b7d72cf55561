"""Write `tintype.json`: the facts that the service needs before it loads a model, and the hash of every file.

The key `tintype` holds `MANIFEST_VERSION`. Sizes are [width, height] in pixels; `downscale` is pixels per latent cell;
`export.preview` describes `preview`. The service reads the file in `service.models.folder.manifest`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tintype.service.models.families.distilled import ModelFacts
from tintype.service.models.files import sha256
from tintype.service.numerics import Diffusion, InvalidChoice, Levels

from .errors import ExportRefusal

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.service.models.family import Family as ServedFamily

    from .families import Family

MANIFEST = "tintype.json"
# The record of an unfinished export (`export.resume`), which is not a file of the model.
STATE = "export.json"
MANIFEST_VERSION = 1
ENCODER, CLIP = "text_encoder", "CLIP"


def describe(pipeline: Any, family: Family, source: str, **others: Any) -> dict[str, Any]:
    """Return the manifest of a diffusers `pipeline` with `others`, but without the hashes of its files.

    `source` is the name of the source folder or repository. Raises ExportRefusal if no sampler supports the
    scheduler's configuration.
    """
    denoiser, vae, noise = getattr(pipeline, family.denoiser).config, pipeline.vae.config, pipeline.scheduler
    served = family.served
    downscale = _halvings(vae) * served.vae.patch
    names = (source, *(str(config.get("_name_or_path") or "") for config in (pipeline.config, denoiser)))
    facts = ModelFacts(denoiser=denoiser, scheduler=noise.config, index=pipeline.config, names=names)
    defaults = served.distilled_for(facts) or served
    side = denoiser["sample_size"] * downscale if denoiser.get("sample_size") else served.native_side
    return {
        "tintype": MANIFEST_VERSION,
        "family": family.name,
        **_prediction(noise),
        "native_sizes": [[side, side]],
        "size_multiple": downscale * _size_multiple(denoiser, served),
        "latent_channels": (vae.get("latent_channels") or vae.z_dim) * served.vae.patch**2,
        "downscale": downscale,
        **_latent_factors(vae, served),
        "max_tokens": _max_tokens(pipeline, family, getattr(defaults, "max_tokens", 0) or served.max_tokens),
        "batched_timestep": True,
        "defaults": {
            "steps": defaults.steps,
            "guidance_scale": defaults.guidance_scale,
            "guidance_rescale": 0.0,
        },
        **others,
    }


def _halvings(vae: Any) -> int:
    """Return the width of a latent in pixels: an autoencoder halves the image between its levels."""
    levels = vae.get("block_out_channels") or vae.get("encoder_block_out_channels") or vae.dim_mult
    return int(2 ** (len(levels) - 1))


def _latent_factors(vae: Any, served: ServedFamily) -> dict[str, float]:
    """Return the factors of latents, unless the graphs apply them."""
    if served.vae.normalized:
        return {"scaling_factor": 1.0, "shift_factor": 0.0}
    return {"scaling_factor": vae.scaling_factor, "shift_factor": vae.get("shift_factor") or 0.0}


def _max_tokens(pipeline: Any, family: Family, longest: int) -> int:
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
    return max(lengths.values()) if len(lengths) == len(encoders) else longest


def _clip_tokens(pipeline: Any, part: str) -> int:
    tokenizer = part.replace(ENCODER, "tokenizer")
    length, positions = (
        getattr(pipeline, tokenizer).model_max_length,
        getattr(pipeline, part).config.max_position_embeddings,
    )
    if length > positions:
        raise ExportRefusal(f"{tokenizer}: model_max_length {length} exceeds the {positions} positions of {part}")
    return int(length)


def _size_multiple(denoiser: Any, served: ServedFamily) -> int:
    """Return the number of cells that must divide every side: UNets halve sides between blocks, others make patches."""
    if blocks := denoiser.get("down_block_types"):
        return int(2 ** (len(blocks) - 1))
    return max(int(denoiser.get("patch_size") or 1), served.denoiser.patch)


def write(folder: Path, description: dict[str, Any]) -> None:
    """Write the manifest of `folder`: `description`, and the hashes of all other files, which must be in place."""
    manifest = description | {"files": file_hashes(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the model except the manifest, by path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (MANIFEST, STATE))
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def _prediction(noise: Any) -> dict[str, str]:
    """Return the prediction type, as the service reads it; only the scheduler's file has that of EDM and TrigFlow."""
    try:
        diffusion = Diffusion.from_config({**noise.config, "_class_name": type(noise).__name__})
        return {"prediction": str(diffusion.prediction)} if diffusion.levels is Levels.TRAINED else {}
    except InvalidChoice as error:
        raise ExportRefusal(f"scheduler/scheduler_config.json: {error}") from None
