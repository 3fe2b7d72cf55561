"""From a picture, with and without a mask: what diffusers' own pipelines for it draw from the same seed.

Of those pipelines' samplers two lose their place when steps are left out at the start, and are helped here to keep it:
PNDM's list of timesteps names its second level twice, so that a list cut elsewhere calls the network with levels that
its picture does not have; LMS takes the weights of a long history that it does not have.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from tintype.export.quiet import quiet
from tintype.service.job import Job
from tintype.service.prepare import prepared

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.support.export.peers import SAMPLERS
from tests.support.export.photos import disc, file, photo

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

MODELS = ("sd15", "sd21")


def job(picture: tuple[int, int] = (128, 128), *, mask: bool = False, **settings: Any) -> Job:
    """Return what to draw from a photo of size `picture`, and where the disc is if `mask`."""
    usual: dict[str, Any] = {
        "prompt": "A lake",
        "negative_prompt": "fog",
        "steps": 8,
        "seed": 7,
        "guidance_scale": 5.0,
        "strength": 0.6,
    }
    files = {"image": file(photo(*picture)), "mask": file(disc(*picture)) if mask else b"", "strength": 0.6}
    return Job(**usual | files | settings)


def pndm_timesteps(pipeline: Any, skipped: int) -> Any:
    """Return PNDM's timesteps from the level after those skipped: that one, and the next of them twice."""
    levels = pipeline.scheduler.timesteps.unique().flip(0)[skipped:]
    return torch.cat([levels[:2], levels[1:]])


def lms_timesteps(pipeline: Any, skipped: int) -> Any:
    """Let LMS begin at the level after those skipped, and return its timesteps."""
    pipeline.scheduler.sigmas = pipeline.scheduler.sigmas[skipped:]
    pipeline.scheduler.timesteps = pipeline.scheduler.timesteps[skipped:]
    pipeline.scheduler.set_begin_index(0)
    return pipeline.scheduler.timesteps


HELPED = {"PNDMScheduler": pndm_timesteps, "LMSDiscreteScheduler": lms_timesteps}


def helped(pipeline: Any) -> Any:
    """Give a pipeline whose sampler would lose its place the timesteps that it means."""
    timesteps = HELPED.get(type(pipeline.scheduler).__name__)
    if timesteps is None:
        return pipeline

    def get_timesteps(num_inference_steps: int, strength: float, device: Any) -> tuple[Any, int]:  # noqa: ARG001
        used = int(num_inference_steps * strength)
        return timesteps(pipeline, num_inference_steps - used), used

    pipeline.get_timesteps = get_timesteps
    return pipeline


def by_diffusers(parts: dict[str, Any], job: Job, size: tuple[int, int]) -> Any:
    """Draw `job`, whose pictures have `size`, with the pipeline that diffusers has for it."""
    kind = diffusers.StableDiffusionInpaintPipeline if job.mask else diffusers.StableDiffusionImg2ImgPipeline
    pipeline = helped(kind(**parts, requires_safety_checker=False))
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
    """Give what draws a job with the service's engine."""

    def draw(model: str, job: Job) -> Any:
        studio = pair(model).studio
        return studio.draw(prepared(job, studio._repository.spec()))

    return draw


@pytest.fixture
def drawn(pair: Callable[[str], Any], ours: Callable[[str, Job], Any]) -> Callable[[str, Job], tuple[Any, Any]]:
    """Give what draws a job on both sides."""

    def both(model: str, job: Job) -> tuple[Any, Any]:
        here = pair(model)
        if job.sampler == "lms":
            pytest.importorskip("scipy", reason="diffusers integrates LMS with it")
        name, settings = SAMPLERS[job.sampler] if job.sampler else (here.training_noise["_class_name"], {})
        noise = getattr(diffusers, name).from_config(here.training_noise, **settings)
        pixels = ours(model, job)
        return pixels, by_diffusers({**here.pipeline.components, "scheduler": noise}, job, pixels.shape[:1:-1])

    return both


@pytest.mark.parametrize("mask", [False, True], ids=["picture", "mask"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampler(sampler: str, mask: bool, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:  # noqa: FBT001
    """Each sampler begins in the middle as diffusers' does, and keeps what the mask keeps at each level."""
    compare(*drawn("sd15", job(mask=mask, sampler=sampler)))


@pytest.mark.parametrize("mask", [False, True], ids=["picture", "mask"])
@pytest.mark.parametrize("strength", [0.13, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("model", MODELS)
def test_strength(
    model: str,
    strength: float,
    mask: bool,  # noqa: FBT001
    drawn: Callable[..., Any],
    compare: Callable[..., None],
) -> None:
    """From one step of eight to all of them, with the model's own sampler."""
    compare(*drawn(model, job(mask=mask, strength=strength)))


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_built_in_model(strength: float, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:
    """It starts from pictures too; diffusers repaints only with four latent channels, and so has no masks for it."""
    compare(*drawn("builtin", job((256, 256), strength=strength)))


@pytest.mark.parametrize("mask", [False, True], ids=["picture", "mask"])
@pytest.mark.parametrize("size", [(192, 128), (96, 160)], ids=["wide", "tall"])
def test_shape(size: tuple[int, int], mask: bool, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:  # noqa: FBT001
    """Other shapes; the size is the picture's own."""
    ours, theirs = drawn("sd21", job(size, mask=mask))
    assert ours.shape == (1, 3, *size[::-1])
    compare(ours, theirs)


@pytest.mark.parametrize("mask", [False, True], ids=["picture", "mask"])
def test_a_picture_of_another_size(mask: bool, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:  # noqa: FBT001
    """A picture that has to be resampled, and its mask, are as in diffusers."""
    compare(*drawn("sd15", job((331, 331), mask=mask, width=128, height=128)))


@pytest.mark.parametrize("sampler", ["", "euler_ancestral"])
def test_two_pictures(sampler: str, drawn: Callable[..., Any], compare: Callable[..., None]) -> None:
    """Picture k is that of seed + k, its encoder's noise included."""
    ours, theirs = drawn("sd21", job(count=2, sampler=sampler))
    assert np.abs(ours[0] - ours[1]).max() > 0.1
    compare(ours, theirs)


@pytest.mark.parametrize(
    "other",
    [{"strength": 0.7}, {"seed": 8}, {"image": file(photo(128, 128).transpose(Image.Transpose.FLIP_LEFT_RIGHT))}],
)
@pytest.mark.parametrize("mask", [False, True], ids=["picture", "mask"])
def test_another_picture_is_another(mask: bool, other: dict[str, Any], ours: Callable[[str, Job], Any]) -> None:  # noqa: FBT001
    """The comparison can fail: what differs in a single setting differs by more than the bound."""
    pictures = [ours("sd15", job(mask=mask, **settings)) for settings in ({}, other)]
    assert np.abs(pictures[0] - pictures[1]).max() * 255 > 2
