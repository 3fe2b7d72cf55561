"""Conditions change the images of the random pipelines visibly; otherwise comparing images would prove little."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tintype.export.console import quiet
from tintype.export.qwen_processor import complete
from tintype.export.tiny.pipelines import random_pipeline

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

# Smallest mean change of an image by a condition, of 255.
LEVELS = 1.0
TEXT = "a cat holding a sign"
USUAL: dict[str, Any] = {"guidance_scale": 5.0, "num_inference_steps": 4, "output_type": "np"}
SIDE = {"width": 128, "height": 128}
SHORT = {"max_sequence_length": 64}
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)).resize((128, 128))
HALVES: dict[str, Any] = {
    "image": PHOTO,
    "mask_image": Image.fromarray(np.triu(np.full((128, 128), 255, np.uint8))),
    "strength": 1.0,
}
UNBINNED = {"use_resolution_binning": False}
# Qwen-Image's own name of the guidance scale, which needs a negative prompt.
TRUE = {"true_cfg_scale": 5.0, "negative_prompt": " "}
# Arguments of a family's call besides the prompt.
CALLS: dict[str, dict[str, Any]] = {
    "sd_inpaint": SIDE | HALVES,
    "sdxl_inpaint": SIDE | HALVES,
    "sdxl_refiner": {"image": PHOTO, "strength": 0.9},
    "sd3": SIDE | SHORT,
    "sd35": SIDE | SHORT,
    "flux_schnell": SIDE | SHORT,
    "flux_dev": SIDE | SHORT,
    "flux_kontext": SIDE | SHORT | {"image": PHOTO, "max_area": 128 * 128, "_auto_resize": False},
    "flux_fill": SIDE | SHORT | HALVES,
    "chroma": SIDE | SHORT,
    "flux2_klein": SIDE | SHORT | {"image": PHOTO},
    "flux2_dev": SIDE | {"image": PHOTO, "max_sequence_length": 256},  # the system message is long
    "pixart_alpha": SIDE | SHORT | UNBINNED,
    "aura_flow": SIDE | SHORT,
    "ovis_image": SIDE | SHORT,
    "ernie_image": SIDE | {"use_pe": False},
    "longcat_image": SIDE | {"enable_prompt_rewrite": False},
    "z_image": SIDE | SHORT,
    "qwen_image": SIDE | TRUE,
    "qwen_image_edit_2511": SIDE | TRUE | {"image": PHOTO},
    "lumina2": SIDE,  # the system message is long
    "pixart_sigma": SIDE | SHORT | UNBINNED,
    "sana": SIDE | SHORT | UNBINNED | {"complex_human_instruction": None},
    "sana_sprint": SIDE | SHORT | UNBINNED | {"complex_human_instruction": None, "num_inference_steps": 2},
}
OTHER: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "mountain lake"},
    "negative": {"negative_prompt": "fog"},
    "second": {"prompt_2": "mountain lake"},
    "third": {"prompt_3": "mountain lake"},
    "guidance": {"guidance_scale": 2.0},
    "true guidance": {"true_cfg_scale": 2.0},
    "size": {"original_size": (512, 300)},
    "crop": {"crops_coords_top_left": (64, 0)},
    "score": {"aesthetic_score": 2.5},
    "image": {"image": PHOTO.rotate(90)},
    "mask": {"mask_image": HALVES["mask_image"].rotate(90)},
}
GUIDED = ("prompt", "negative", "guidance")
TRULY_GUIDED = ("prompt", "negative", "true guidance")
CONDITIONS: dict[str, tuple[str, ...]] = {
    "sd15": GUIDED,
    "sd21": GUIDED,
    "sd_inpaint": GUIDED,
    "lcm": ("prompt", "guidance"),
    "sdxl": (*GUIDED, "second", "size", "crop"),
    "sdxl_turbo": (*GUIDED, "second", "size", "crop"),
    "playground": GUIDED,
    "cosxl": GUIDED,
    "sdxl_inpaint": (*GUIDED, "second", "size", "crop"),
    "sdxl_refiner": (*GUIDED, "size", "score"),
    "sd3": (*GUIDED, "second", "third"),
    "sd35": (*GUIDED, "second", "third"),
    "flux_schnell": ("prompt", "second"),
    "flux_dev": ("prompt", "second", "guidance"),
    "flux_kontext": ("prompt", "second", "guidance", "image"),
    "chroma": GUIDED,
    "pixart_alpha": GUIDED,
    "aura_flow": GUIDED,
    "flux_fill": ("prompt", "second", "guidance", "image", "mask"),
    "flux2_klein": ("prompt", "guidance", "image"),
    "flux2_dev": ("prompt", "guidance", "image"),
    "kolors": (*GUIDED, "size", "crop"),
    "ovis_image": GUIDED,
    "ernie_image": GUIDED,
    "krea2": GUIDED,
    "dreamlite": GUIDED,
    "longcat_image": GUIDED,
    "z_image": GUIDED,
    "qwen_image": TRULY_GUIDED,
    "qwen_image_edit_2511": ("prompt", "image"),  # its kin differ little, and images to edit are scaled to 1 M pixels
    "lumina2": GUIDED,
    "pixart_sigma": GUIDED,
    "sana": GUIDED,
    "sana_sprint": ("prompt", "guidance"),
}


@cache
def pipeline(family: str) -> Any:
    made = random_pipeline(family)
    complete(made)
    made.set_progress_bar_config(disable=True)
    return made


@cache
def usual(family: str) -> Any:
    return generate(family)


def generate(family: str, seed: int = 0, **settings: Any) -> Any:
    """Generate one image, [1, h, w, 3] in 0..1."""
    generator = torch.Generator("cpu").manual_seed(seed)
    call = {"prompt": TEXT, **USUAL, **CALLS.get(family, SIDE), **settings}
    with quiet(), torch.no_grad():
        return pipeline(family)(generator=generator, **call).images


def difference(family: str, **settings: Any) -> float:
    return float(np.abs(generate(family, **settings) - usual(family)).mean() * 255)


@pytest.mark.parametrize(("family", "what"), [(f, what) for f, whats in CONDITIONS.items() for what in whats])
def test_a_condition_changes_the_image(family: str, what: str) -> None:
    """Code that omits a condition, or confuses two, generates another image."""
    assert difference(family, **OTHER[what]) > LEVELS


@pytest.mark.parametrize("family", CONDITIONS)
def test_seeds_differ_and_colours_vary(family: str) -> None:
    """Images are neither grey nor saturated, and two seeds give two images."""
    image = usual(family)
    assert image.std() > 0.05
    assert ((image <= 0) | (image >= 1)).mean() < 0.2
    assert difference(family, seed=1) > 5 * LEVELS


def test_weights_depend_only_on_the_seed() -> None:
    """Equal seeds give equal weights, independent of other random numbers; another seed gives another model."""
    first = random_pipeline("sd15").unet.conv_out.weight
    torch.rand(7)
    assert torch.equal(random_pipeline("sd15").unet.conv_out.weight, first)
    assert not torch.equal(random_pipeline("sd15", seed=1).unet.conv_out.weight, first)
