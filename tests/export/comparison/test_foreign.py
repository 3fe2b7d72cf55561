"""A folder exported by plain optimum is served unchanged, without a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from diffusers import DiffusionPipeline

from tests.support.export.diffusers_pipelines import images_of_task
from tests.support.export.input_images import disc, photo, png
from tests.support.peers.environment import export_with_optimum
from tintype.export.image_comparison import LocalService
from tintype.service.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

SIZE = (128, 128)
# Families that optimum-onnx 0.1.0 can export, all except PixArt-Sigma -> optimum's task and steps.
FAMILIES: dict[str, tuple[str, int]] = {
    "sd15": ("text-to-image", 6),
    "sd_inpaint": ("inpainting", 6),
    "lcm": ("text-to-image", 4),
    "sdxl": ("text-to-image", 4),
    "sdxl_refiner": ("image-to-image", 4),
    "sd3": ("text-to-image", 4),
    "flux_schnell": ("text-to-image", 2),
    "flux_dev": ("text-to-image", 2),
    "sana": ("text-to-image", 4),
}


@pytest.fixture(scope="module")
def foreign(pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a family to a folder made by the function behind `optimum-cli export onnx`."""
    root = tmp_path_factory.mktemp("foreign")
    export_with_optimum((pipelines(family), root / family, task) for family, (task, _) in FAMILIES.items())
    return lambda family: root / family


def job(family: str) -> Job:
    task, steps = FAMILIES[family]
    width, height = SIZE if task == "text-to-image" else (None, None)
    return Job(
        prompt="a lake at sunset",
        negative_prompt="fog",
        steps=steps,
        seed=3,
        guidance_scale=5.0,
        count=2,
        width=width,
        height=height,
        image=b"" if width else png(photo(*SIZE)),
        mask=png(disc(*SIZE)) if task == "inpainting" else b"",
        strength=None if width else 0.6,
    )


def test_a_foreign_folder_has_no_manifest(foreign: Callable[[str], Path]) -> None:
    """The folder has no manifest, and its denoiser takes one timestep for all rows."""
    assert not (foreign("sd15") / "tintype.json").exists()
    unet = onnx.load(foreign("sd15") / "unet" / "model.onnx", load_external_data=False)
    (timestep,) = (i for i in unet.graph.input if i.name == "timestep")
    assert len(timestep.type.tensor_type.shape.dim) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_foreign_folder_equals_diffusers(
    family: str, foreign: Callable[[str], Path], pipelines: Callable[[str], Path], compare: Callable[..., None]
) -> None:
    """Without `tintype export`: the same images, two at a time."""
    with LocalService([foreign(family)]) as service:
        ours, tokens = service.generate(job(family)), service.spec.max_tokens
    pipeline = DiffusionPipeline.from_pretrained(pipelines(family))
    compare(ours, images_of_task(pipeline, job(family), SIZE, max_sequence_length=tokens))


def test_a_foreign_folder_equals_our_export(foreign: Callable[[str], Path], exported: Callable[..., Path]) -> None:
    """Our graph gives the same images; it differs in which rows may share a call."""
    with LocalService([foreign("sd15")]) as plain, LocalService([exported("sd15")]) as ours:
        np.testing.assert_allclose(plain.generate(job("sd15")), ours.generate(job("sd15")), atol=1e-5)
