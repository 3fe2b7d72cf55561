"""Every family and every task: what `tintype export` wrote draws what diffusers' own pipeline draws from one seed.

The table of largest differences at the end of the run stands in docs/models.md.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch

from tests.support.export.linked import linked
from tests.support.export.photos import disc, file, photo
from tests.support.export.rounded import PRECISIONS
from tests.support.export.tasks import by_diffusers
from tintype.export.image_comparison import Studio
from tintype.export.quiet import quiet
from tintype.service.engine.sizes import native_size
from tintype.service.job import Job
from tintype.service.prepare import prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

ALL, TEXT = ("text", "picture", "mask"), ("text",)
# Family -> the tasks for which diffusers has a pipeline that draws with it as it is.
FAMILIES: dict[str, tuple[str, ...]] = {
    "sd15": TEXT,  # from pictures its own sampler needs help: test_image_to_image
    "sd21": ALL,
    "sd_inpaint": ("mask",),
    "lcm": ("text", "picture"),
    "sdxl": ALL,
    "sdxl_turbo": ALL,
    "sdxl_inpaint": ("mask",),
    "sdxl_refiner": ("picture", "mask"),
    "sd3": ALL,
    "sd35": ALL,
    "flux_schnell": ALL,
    "flux_dev": ALL,
    "pixart_sigma": TEXT,
    "sana": TEXT,
}
PAIRS = [(family, task) for family, tasks in FAMILIES.items() for task in tasks]
# Family -> what means nothing to it.
NEGLIGIBLE = {"flux_schnell": ("guidance", "negative"), "flux_dev": ("negative",), "lcm": ("negative",)}
WIDE = (160, 96)

# What is asked for, beyond the usual.
CASES: dict[str, dict[str, Any]] = {
    "usual": {},
    "wide, no negative prompt": {"size": WIDE, "negative_prompt": ""},
    "two, unguided": {"count": 2, "guidance_scale": 1.0},
    "strength 1": {"strength": 1.0},
    "strength 0.33": {"strength": 0.33, "steps": 8},
}
# Family -> diffusers' classes for other samplers of ours, and the settings with which they do the same.
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
SAMPLERS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "sdxl": {
        "ddim": ("DDIMScheduler", {"clip_sample": False}),
        "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
        "unipc": ("UniPCMultistepScheduler", {}),
        "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    },
    "sd3": {
        "heun": ("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}),
        "dpmpp_2m": ("DPMSolverMultistepScheduler", FLOW),
        "unipc": ("UniPCMultistepScheduler", FLOW),
    },
    "pixart_sigma": {"euler": ("EulerDiscreteScheduler", {}), "unipc": ("UniPCMultistepScheduler", {})},
    "sana": {"euler": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}), "unipc": ("UniPCMultistepScheduler", FLOW)},
}


def job(task: str, *, size: tuple[int, int] = (128, 128), **settings: Any) -> Job:
    usual: dict[str, Any] = {
        "prompt": "A serene lake at sunset",
        "negative_prompt": "fog",
        "steps": 6,
        "seed": 7,
        "guidance_scale": 5.0,
    }
    if task == "text":
        settings.pop("strength", None)
        return Job(**usual | {"width": size[0], "height": size[1]} | settings)
    files = {"image": file(photo(*size)), "mask": file(disc(*size)) if task == "mask" else b"", "strength": 0.6}
    return Job(**usual | files | settings)


@pytest.fixture(scope="session")
def studio(exported: Callable[..., Path], tmp_path_factory: Any) -> Iterator[Callable[..., Studio]]:
    """Give the service's engine with a family's exported pipeline, for pictures as small as the others'."""
    root = tmp_path_factory.mktemp("small")
    studios: list[Studio] = []

    @cache
    def made(family: str, precision: str = "fp32") -> Studio:
        studios.append(Studio([linked(exported(family, precision), root / precision / family)]))
        return studios[-1]

    yield made
    for studio in studios:
        studio.__exit__()


@pytest.fixture(scope="session")
def source(pipelines: Callable[[str], Path]) -> Callable[[str], Any]:
    """Give a family's pipeline in diffusers."""
    return cache(lambda family: diffusers.DiffusionPipeline.from_pretrained(pipelines(family)))


@pytest.fixture(scope="session")
def ours(studio: Callable[..., Studio]) -> Callable[[str, Job], Any]:
    """Give what draws a job with the service's engine, the same one once."""

    @cache
    def draw(family: str, job: Job) -> Any:
        here = studio(family)
        return here.draw(prepared(job, here.spec))

    return draw


@pytest.fixture(scope="session")
def theirs(studio: Callable[..., Studio], source: Callable[[str], Any]) -> Callable[..., Any]:
    """Give what draws a job with diffusers, whose pipelines read as many tokens as the manifest says; the same once.

    A pipeline with another sampler than its own is another one.
    """

    @cache
    def draw(family: str, job: Job, size: tuple[int, int], sampler: str) -> Any:  # noqa: ARG001 - part of a key
        return by_diffusers(source(family), job, size, max_sequence_length=studio(family).spec.max_tokens)

    def drawn(family: str, job: Job, size: tuple[int, int] = (128, 128)) -> Any:
        return draw(family, job, size, type(source(family).scheduler).__name__)

    return drawn


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("family", "task"), PAIRS)
def test_family(
    family: str, task: str, case: str, ours: Callable[..., Any], theirs: Callable[..., Any], compare: Any
) -> None:
    """From text, from a picture and with a mask, square and wide, guided and not, one and two at a time."""
    settings = dict(CASES[case])
    if task == "text" and "strength" in settings:
        pytest.skip("without a picture there is no strength")
    asked = job(task, **settings)
    compare(ours(family, asked), theirs(family, asked, settings.get("size", (128, 128))))


@pytest.mark.parametrize(("family", "sampler"), [(f, name) for f, names in SAMPLERS.items() for name in names])
def test_sampler_of(family: str, sampler: str, ours: Any, theirs: Any, source: Any, compare: Any) -> None:
    """Other samplers than the model's own, in each world of noise."""
    name, settings = SAMPLERS[family][sampler]
    pipeline = source(family)
    own = pipeline.scheduler
    config = {} if "flow_shift" in settings or name.startswith("FlowMatch") else own.config
    pipeline.scheduler = getattr(diffusers, name).from_config(config, **settings)
    try:
        expected = theirs(family, job("text"))
    finally:
        pipeline.scheduler = own
    compare(ours(family, job("text", sampler=sampler)), expected)


@pytest.mark.parametrize(("family", "task"), [("sd21", "text"), ("sdxl", "text"), ("sdxl_refiner", "picture")])
def test_rescaled_guidance(family: str, task: str, ours: Callable[..., Any], theirs: Any, compare: Any) -> None:
    """`guidance_rescale` is diffusers', and it shows."""
    asked = job(task, guidance_rescale=0.7)
    drawn = ours(family, asked)
    assert np.abs(drawn - ours(family, job(task))).max() * 255 > 2
    compare(drawn, theirs(family, asked))


@pytest.mark.parametrize("size", [(16, 16), (16, 4096), (4096, 16), (97, 131)])
@pytest.mark.parametrize("family", FAMILIES)
def test_any_size(family: str, size: tuple[int, int], ours: Callable[..., Any], studio: Callable[..., Studio]) -> None:
    """A size that the model can't make is made in the nearest one that it can, whatever the family."""
    pixels = ours(family, job(FAMILIES[family][0], size=size, steps=2))
    width, height = native_size(*size, studio(family).spec)
    assert pixels.shape == (1, 3, height, width)
    assert np.isfinite(pixels).all()
    assert np.ptp(pixels) > 0


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_precision(family: str, precision: str, studio: Any, theirs: Any, noted: Any) -> None:
    """Half the bytes, or a quarter: the picture moves by as much as the weights were rounded, and no more."""
    asked = job(FAMILIES[family][0])
    here = studio(family, precision)
    apart = noted(here.draw(prepared(asked, here.spec)), theirs(family, asked))
    assert 0 < np.abs(apart).mean() < PRECISIONS[precision]


@pytest.mark.parametrize(
    "other",
    [{"prompt": "a red horse"}, {"negative_prompt": "rain, mud"}, {"guidance_scale": 3.0}, {"seed": 9}, {"steps": 7}],
    ids=lambda other: next(iter(other)).split("_")[0],
)
@pytest.mark.parametrize(("family", "task"), [(family, tasks[0]) for family, tasks in FAMILIES.items()])
def test_another_picture_is_another(family: str, task: str, other: dict[str, Any], ours: Callable[..., Any]) -> None:
    """The comparison can fail: what differs in one setting differs by more than the bound, if it means anything."""
    away = np.abs(ours(family, job(task)) - ours(family, job(task, **other))).max() * 255
    without_effect = next(iter(other)).split("_")[0] in NEGLIGIBLE.get(family, ())
    assert away == 0 if without_effect else away > 2


def test_guidance_of_a_distilled_flow(
    exported: Callable[..., Path], source: Callable[..., Any], tmp_path: Path, compare: Callable[..., None]
) -> None:
    """A manifest may say that a FLUX is guided by a second call after all: true_cfg_scale in diffusers."""
    guided = linked(exported("flux_schnell"), tmp_path / "guided", guidance="classifier_free")
    asked = job("text", guidance_scale=3.0)
    with Studio([guided]) as studio:
        ours = studio.draw(asked)
        tokens = studio.spec.max_tokens
    settings = {"max_sequence_length": tokens, "true_cfg_scale": 3.0}
    compare(ours, by_diffusers(source("flux_schnell"), asked, (128, 128), **settings))


def test_both_stages(
    exported: Callable[..., Path], source: Callable[..., Any], tmp_path: Path, compare: Callable[..., None]
) -> None:
    """SDXL's base, then for the last two fifths its refiner: denoising_end and denoising_start in diffusers."""
    (tmp_path / "refiner").symlink_to(exported("sdxl_refiner"))
    base = linked(exported("sdxl"), tmp_path / "base", refiner={"folder": "../refiner", "share": 0.4})
    with Studio([base]) as studio:
        ours = studio.draw(job("text", steps=10))
    compare(ours, two_stages(source("sdxl"), source("sdxl_refiner"), job("text", steps=10)))


def two_stages(base: Any, refiner: Any, asked: Job) -> Any:
    """Draw with both pipelines, the second with the first's latents and random numbers."""
    settings = {
        "prompt": asked.prompt,
        "negative_prompt": asked.negative_prompt,
        "num_inference_steps": asked.steps,
        "guidance_scale": asked.guidance_scale,
        "generator": torch.Generator("cpu").manual_seed(asked.seed or 0),
    }
    for pipeline in (base, refiner):
        pipeline.set_progress_bar_config(disable=True)
    with quiet(), torch.no_grad():
        latents = base(
            **settings, width=asked.width, height=asked.height, denoising_end=0.6, output_type="latent"
        ).images
        vae, refiner.vae = refiner.vae, base.vae
        try:
            images = refiner(**settings, image=latents, denoising_start=0.6, output_type="np").images
        finally:
            refiner.vae = vae
    return np.moveaxis(images, -1, 1)
