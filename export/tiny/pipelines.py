"""Make a small random pipeline of each family, offline and in seconds.

    python -m tintype.export.tiny FOLDER [FAMILY ...]        # writes FOLDER/<family>/ in diffusers' layout

Nothing is downloaded: shapes are constants in the code, weights are random, and tokenizers are trained on a few lines
of text. `scale_weights` enlarges some layers, so that images vary as much as those of a trained model. Without it all
images of a random model would be the same grey, and their comparison would prove nothing.
A family is one function and one row of `FAMILIES`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from ..console import quiet
from ..model_folder import TOKENIZERS, write_scheduler_config
from . import tokenizers
from .flux import chroma, flux_dev, flux_fill, flux_kontext, flux_schnell
from .flux2 import flux2_dev, flux2_klein
from .flux_like import longcat_image, ovis_image
from .parts import enlarge
from .qwen_image import qwen_image, qwen_image_edit, qwen_image_edit_2511, qwen_image_edit_plus
from .single_stream import ernie_image, krea2
from .transformers import aura_flow, pixart_alpha, pixart_sigma, sana, sana_sprint, sd3, sd35
from .unets import (
    cosxl,
    dreamlite,
    kolors,
    lcm,
    playground,
    sd15,
    sd21,
    sd_inpaint,
    sdxl,
    sdxl_inpaint,
    sdxl_refiner,
    sdxl_turbo,
)
from .z_image import lumina2, z_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import diffusers

FAMILIES: dict[str, Callable[[], diffusers.DiffusionPipeline]] = {
    family.__name__: family
    for family in (
        sd15,
        sd21,
        sd_inpaint,
        lcm,
        sdxl,
        sdxl_turbo,
        playground,
        cosxl,
        sdxl_inpaint,
        kolors,
        sdxl_refiner,
        sd3,
        sd35,
        flux_schnell,
        flux_dev,
        flux_kontext,
        flux_fill,
        chroma,
        flux2_klein,
        flux2_dev,
        ovis_image,
        longcat_image,
        z_image,
        lumina2,
        ernie_image,
        krea2,
        dreamlite,
        pixart_sigma,
        pixart_alpha,
        aura_flow,
        sana,
        sana_sprint,
        qwen_image,
        qwen_image_edit,
        qwen_image_edit_plus,
        qwen_image_edit_2511,
    )
}

# Layers of the denoiser -> their factors, found by looking at images.
GAINS = {
    "conv_out": 3.0,
    "attn2.to_out": 8.0,
    "add_embedding": 2.0,
    "cond_proj": 6.0,
    # joint attention of text and image: SD3 and FLUX
    "attn.add_v_proj": 4.0,
    "attn.to_out": 4.0,
    "context_embedder": 3.0,
    "text_embedder": 2.0,
    "time_embed.guidance_embedder": 4.0,  # SANA-Sprint
    "guidance_embedder": 2.0,
}


def write_pipeline(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a family's pipeline to `folder`/`family` in diffusers' layout; equal seeds give equal weights."""
    transformers.utils.logging.disable_progress_bar()
    pipeline = random_pipeline(family, seed=seed)
    with quiet():
        pipeline.save_pretrained(folder / family)
    write_as_published(pipeline, folder / family)
    return folder / family


def write_as_published(pipeline: Any, folder: Path) -> None:
    """Change a saved pipeline to what published ones are: transformers 5 and diffusers save some parts otherwise."""
    write_scheduler_config(pipeline.scheduler, folder / "scheduler")  # only set keys
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    for name, part in pipeline.components.items():
        if name in TOKENIZERS and part is not None:
            index[name][1] = tokenizers.write_as_published(part, folder / name)
        if isinstance(part, transformers.CLIPTextModel):
            path = folder / name / "model.safetensors"
            weights = {f"text_model.{each}": weight for each, weight in load_file(path).items()}
            save_file(weights, path, metadata={"format": "pt"})
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def random_pipeline(family: str, *, seed: int = 0) -> diffusers.DiffusionPipeline:
    """Return the pipeline of a family of `FAMILIES`; its random weights depend only on `seed`."""
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = FAMILIES[family]()
    scale_weights(pipeline)
    return pipeline


def scale_weights(pipeline: Any) -> None:
    """Scale layers of the denoiser in place, so that prompt, guidance and sizes change the image visibly."""
    enlarge(getattr(pipeline, "unet", None) or pipeline.transformer, GAINS)
