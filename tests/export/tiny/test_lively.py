"""What conditions a picture shows in it, for the random pipelines too: else comparing their pictures proves little."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tintype.export.quiet import quiet
from tintype.export.tiny.pipelines import FAMILIES, random_pipeline

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

# Of 255, in the mean over the picture: what a condition must change at least.
LEVELS = 1.0
TEXT = "a cat holding a sign"
USUAL: dict[str, Any] = {"guidance_scale": 5.0, "num_inference_steps": 4, "output_type": "np"}
SIDE = {"width": 128, "height": 128}
SHORT = {"max_sequence_length": 64}
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)).resize((128, 128))
HALVES = {
    "image": PHOTO,
    "mask_image": Image.fromarray(np.triu(np.full((128, 128), 255, np.uint8))),
    "strength": 1.0,
}
UNBINNED = {"use_resolution_binning": False}
# What a family's call needs beside the prompt.
CALLS: dict[str, dict[str, Any]] = {
    "sd_inpaint": SIDE | HALVES,
    "sdxl_inpaint": SIDE | HALVES,
    "sdxl_refiner": {"image": PHOTO, "strength": 0.9},
    "sd3": SIDE | SHORT,
    "sd35": SIDE | SHORT,
    "flux_schnell": SIDE | SHORT,
    "flux_dev": SIDE | SHORT,
    "pixart_sigma": SIDE | SHORT | UNBINNED,
    "sana": SIDE | SHORT | UNBINNED | {"complex_human_instruction": None},
}
OTHER: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "mountain lake"},
    "negative": {"negative_prompt": "fog"},
    "second": {"prompt_2": "mountain lake"},
    "third": {"prompt_3": "mountain lake"},
    "guidance": {"guidance_scale": 2.0},
    "size": {"original_size": (512, 300)},
    "crop": {"crops_coords_top_left": (64, 0)},
    "score": {"aesthetic_score": 2.5},
}
GUIDED = ("prompt", "negative", "guidance")
CONDITIONS: dict[str, tuple[str, ...]] = {
    "sd15": GUIDED,
    "sd21": GUIDED,
    "sd_inpaint": GUIDED,
    "lcm": ("prompt", "guidance"),
    "sdxl": (*GUIDED, "second", "size", "crop"),
    "sdxl_turbo": (*GUIDED, "second", "size", "crop"),
    "sdxl_inpaint": (*GUIDED, "second", "size", "crop"),
    "sdxl_refiner": (*GUIDED, "size", "score"),
    "sd3": (*GUIDED, "second", "third"),
    "sd35": (*GUIDED, "second", "third"),
    "flux_schnell": ("prompt", "second"),
    "flux_dev": ("prompt", "second", "guidance"),
    "pixart_sigma": GUIDED,
    "sana": GUIDED,
}


@cache
def pipeline(family: str) -> Any:
    made = random_pipeline(family)
    made.set_progress_bar_config(disable=True)
    return made


@cache
def usual(family: str) -> Any:
    return draw(family)


def draw(family: str, seed: int = 0, **settings: Any) -> Any:
    """Draw one picture, [1, h, w, 3] in 0..1."""
    generator = torch.Generator("cpu").manual_seed(seed)
    call = {"prompt": TEXT, **USUAL, **CALLS.get(family, SIDE), **settings}
    with quiet(), torch.no_grad():
        return pipeline(family)(generator=generator, **call).images


def apart(family: str, **settings: Any) -> float:
    return float(np.abs(draw(family, **settings) - usual(family)).mean() * 255)


@pytest.mark.parametrize(("family", "what"), [(f, what) for f in FAMILIES for what in CONDITIONS[f]])
def test_a_condition_shows(family: str, what: str) -> None:
    """Whoever leaves a condition out, or mixes up two of them, draws another picture."""
    assert apart(family, **OTHER[what]) > LEVELS


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_shows_and_colours_are_spread(family: str) -> None:
    """Pictures are neither grey nor saturated, and two seeds are two pictures."""
    picture = usual(family)
    assert picture.std() > 0.05
    assert ((picture <= 0) | (picture >= 1)).mean() < 0.1
    assert apart(family, seed=1) > 5 * LEVELS


def test_weights_depend_on_the_seed_alone() -> None:
    """What is made twice is the same, whatever was drawn in between, and another seed is another model."""
    first = random_pipeline("sd15").unet.conv_out.weight
    torch.rand(7)
    assert torch.equal(random_pipeline("sd15").unet.conv_out.weight, first)
    assert not torch.equal(random_pipeline("sd15", seed=1).unet.conv_out.weight, first)
