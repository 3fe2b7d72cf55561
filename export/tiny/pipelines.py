"""A random pipeline of each family, made offline in seconds: for tests, benchmarks and a first try of the export.

    python -m tintype.export.tiny FOLDER [family ...]        # writes FOLDER/<family>/ in diffusers' layout

Nothing is downloaded: shapes are literal, weights are random, the tokenizers are trained on a handful of lines.
Some layers are scaled until what comes out is as lively as from a trained model (`lively`): two pictures of a random
model would else be the same grey, and comparing them would prove nothing.
A family is one function and one row of `FAMILIES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..model_folder import write_noise
from ..quiet import quiet
from .lively import enliven
from .transformers import flux_dev, flux_schnell, pixart_sigma, sana, sd3, sd35
from .unets import lcm, sd15, sd21, sd_inpaint, sdxl, sdxl_inpaint, sdxl_refiner, sdxl_turbo

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
        sdxl_inpaint,
        sdxl_refiner,
        sd3,
        sd35,
        flux_schnell,
        flux_dev,
        pixart_sigma,
        sana,
    )
}


def make(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write `folder`/`family` in diffusers' layout; the same `seed` gives the same weights."""
    pipeline = random_pipeline(family, seed=seed)
    pipeline.save_pretrained(folder / family)
    write_noise(pipeline.scheduler, folder / family / "scheduler")  # as sparse as the published ones
    return folder / family


def random_pipeline(family: str, *, seed: int = 0) -> diffusers.DiffusionPipeline:
    """Return the pipeline of a family of `FAMILIES`, with random weights that depend on `seed` alone."""
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = FAMILIES[family]()
    enliven(pipeline)
    return pipeline
