"""Image to image and inpainting give the images of diffusers' own pipelines for the same seed.

Two of diffusers' samplers are wrong if the first steps are skipped, and are corrected here: PNDM's list of timesteps
has its second level twice, so a list cut elsewhere calls the network with levels that its latents do not have; LMS uses
the weights of a longer history than it has.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from tintype.export.console import quiet
from tintype.service.job import Job
from tintype.service.prepare import prepare_job

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.support.export.diffusers_samplers import SAMPLERS
from tests.support.export.input_images import disc, photo, png

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

MODELS = ("sd15", "sd21")


def job(size: tuple[int, int] = (128, 128), *, mask: bool = False, **settings: Any) -> Job:
    """Return a job from a photo of `size`, with a disc as the mask if `mask`."""
    usual: dict[str, Any] = {
        "prompt": "A lake",
        "negative_prompt": "fog",
        "steps": 8,
        "seed": 7,
        "guidance_scale": 5.0,
        "strength": 0.6,
    }
    files = {"image": png(photo(*size)), "mask": png(disc(*size)) if mask else b"", "strength": 0.6}
    return Job(**usual | files | settings)


def pndm_timesteps(pipeline: Any, skipped: int) -> Any:
    """Return PNDM's timesteps after the skipped levels, with the second of them twice."""
    levels = pipeline.scheduler.timesteps.unique().flip(0)[skipped:]
    return torch.cat([levels[:2], levels[1:]])


def lms_timesteps(pipeline: Any, skipped: int) -> Any:
    """Start LMS after the skipped levels, and return its timesteps."""
    pipeline.scheduler.sigmas = pipeline.scheduler.sigmas[skipped:]
    pipeline.scheduler.timesteps = pipeline.scheduler.timesteps[skipped:]
    pipeline.scheduler.set_begin_index(0)
    return pipeline.scheduler.timesteps


CORRECTIONS = {"PNDMScheduler": pndm_timesteps, "LMSDiscreteScheduler": lms_timesteps}


def corrected(pipeline: Any) -> Any:
    """Return the pipeline with corrected timesteps for the samplers of `CORRECTIONS`."""
    timesteps = CORRECTIONS.get(type(pipeline.scheduler).__name__)
    if timesteps is None:
        return pipeline

    def get_timesteps(num_inference_steps: int, strength: float, device: Any) -> tuple[Any, int]:  # noqa: ARG001
        used = int(num_inference_steps * strength)
        return timesteps(pipeline, num_inference_steps - used), used

    pipeline.get_timesteps = get_timesteps
    return pipeline


def corrected_images(parts: dict[str, Any], job: Job, size: tuple[int, int]) -> Any:
    """Return the images of `job`, which have `size`, from diffusers' pipeline for its task."""
    kind = diffusers.StableDiffusionInpaintPipeline if job.mask else diffusers.StableDiffusionImg2ImgPipeline
    pipeline = corrected(kind(**parts, requires_safety_checker=False))
    pipeline.set_progress_bar_config(disable=True)
    image = Image.open(BytesIO(job.image)).resize(size, Image.Resampling.LANCZOS)
    masked = {"mask_image": Image.open(BytesIO(job.mask)), "width": size[0], "height": size[1]} if job.mask else {}
    with quiet(), torch.no_grad():
        images = pipeline(
            job.prompt,
            image=image,
            strength=job.strength,
            negative_prompt=job.negative_prompt,
            num_inference_steps=job.steps,
            guidance_scale=job.guidance_scale,
            num_images_per_prompt=job.count,
            generator=[torch.Generator("cpu").manual_seed((job.seed or 0) + k) for k in range(job.count)],
            output_type="np",
            **masked,
        ).images
    return np.moveaxis(images, -1, 1)


@pytest.fixture
def ours(pair: Callable[[str], Any]) -> Callable[[str, Job], Any]:
    """Return a function that generates a job's images with the service's engine."""

    def draw(model: str, job: Job) -> Any:
        service = pair(model).service
        return service.generate(prepare_job(job, service._repository.spec()))

    return draw


@pytest.fixture
def both_sides(pair: Callable[[str], Any], ours: Callable[[str, Job], Any]) -> Callable[[str, Job], tuple[Any, Any]]:
    """Return a function that generates a job's images on both sides."""

    def both(model: str, job: Job) -> tuple[Any, Any]:
        here = pair(model)
        if job.sampler == "lms":
            pytest.importorskip("scipy", reason="diffusers integrates LMS with it")
        name, settings = SAMPLERS[job.sampler] if job.sampler else (here.training_noise["_class_name"], {})
        noise = getattr(diffusers, name).from_config(here.training_noise, **settings)
        pixels = ours(model, job)
        return pixels, corrected_images({**here.pipeline.components, "scheduler": noise}, job, pixels.shape[:1:-1])

    return both


@pytest.mark.parametrize("mask", [False, True], ids=["image", "mask"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_from_an_image_gives_diffusers_image(
    sampler: str, *, mask: bool, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """Each sampler starts at the same level as diffusers', and keeps the masked area at each level."""
    compare(*both_sides("sd15", job(mask=mask, sampler=sampler)))


@pytest.mark.parametrize("mask", [False, True], ids=["image", "mask"])
@pytest.mark.parametrize("strength", [0.13, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("model", MODELS)
def test_a_strength_gives_diffusers_image(
    model: str,
    strength: float,
    *,
    mask: bool,
    both_sides: Callable[..., Any],
    compare: Callable[..., None],
) -> None:
    """From one step of eight to all of them, with the model's own sampler."""
    compare(*both_sides(model, job(mask=mask, strength=strength)))


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_built_in_model_gives_diffusers_image(
    strength: float, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """It supports image to image; diffusers inpaints only four latent channels, so masks are not compared."""
    compare(*both_sides("builtin", job((256, 256), strength=strength)))


@pytest.mark.parametrize("mask", [False, True], ids=["image", "mask"])
@pytest.mark.parametrize("size", [(192, 128), (96, 160)], ids=["wide", "tall"])
def test_the_shape_of_the_input_image_is_kept(
    size: tuple[int, int], *, mask: bool, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """Other shapes; the size is that of the input image."""
    ours, theirs = both_sides("sd21", job(size, mask=mask))
    assert ours.shape == (1, 3, *size[::-1])
    compare(ours, theirs)


@pytest.mark.parametrize("mask", [False, True], ids=["image", "mask"])
def test_an_input_image_of_another_size_is_resampled(
    *, mask: bool, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """An image that must be resampled, and its mask, are treated as in diffusers."""
    compare(*both_sides("sd15", job((331, 331), mask=mask, width=128, height=128)))


@pytest.mark.parametrize("sampler", ["", "euler_ancestral"])
def test_two_images_from_an_image_have_their_own_seeds(
    sampler: str, both_sides: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """Image k has the seed `seed + k`, also for the encoder's noise."""
    ours, theirs = both_sides("sd21", job(count=2, sampler=sampler))
    assert np.abs(ours[0] - ours[1]).max() > 0.1
    compare(ours, theirs)


@pytest.mark.parametrize(
    "other",
    [{"strength": 0.7}, {"seed": 8}, {"image": png(photo(128, 128).transpose(Image.Transpose.FLIP_LEFT_RIGHT))}],
)
@pytest.mark.parametrize("mask", [False, True], ids=["image", "mask"])
def test_other_settings_change_the_image_from_an_image(
    *, mask: bool, other: dict[str, Any], ours: Callable[[str, Job], Any]
) -> None:
    """The comparison can fail: another value of a single setting exceeds the limit."""
    images = [ours("sd15", job(mask=mask, **settings)) for settings in ({}, other)]
    assert np.abs(images[0] - images[1]).max() * 255 > 2
