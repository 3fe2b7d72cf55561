"""Every family and task: exported models give the images of diffusers' own pipelines for one seed.

docs/models.md has the table of largest differences from the end of the run.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch

from tests.support.export.diffusers_pipelines import images_of_task, read_pipeline
from tests.support.export.input_images import disc, photo, png
from tests.support.export.link_model import link_model
from tests.support.export.rounded_weights import MEAN_LIMITS
from tintype.export.console import quiet
from tintype.export.image_comparison import LocalService
from tintype.service.engine.batch_width import BatchLimit, BatchWidths
from tintype.service.engine.events import Failed, Finished, Preview
from tintype.service.engine.sizes import native_size
from tintype.service.job import Job, Previews
from tintype.service.models.pipeline.denoiser import Denoiser
from tintype.service.prepare import prepare_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

ALL, TEXT = ("text", "image", "mask"), ("text",)
# Family -> the tasks that diffusers' pipelines support without changes.
FAMILIES: dict[str, tuple[str, ...]] = {
    "sd15": TEXT,  # image to image with its own sampler needs a workaround: test_image_to_image
    "sd21": ALL,
    "sd_inpaint": ("mask",),
    "lcm": ("text", "image"),
    "sdxl": ALL,
    "sdxl_turbo": ALL,
    "playground": ("text", "image"),  # with a mask, diffusers encodes without the mean and the deviation
    "cosxl": ALL,
    "sdxl_inpaint": ("mask",),
    "sdxl_refiner": ("image", "mask"),
    "sd3": ALL,
    "sd35": ALL,
    "flux_schnell": ALL,
    "flux_dev": ALL,
    "flux_kontext": ("text", "edit", "mask"),
    "flux_fill": ("mask",),
    "chroma": ALL,
    "pixart_alpha": TEXT,
    "aura_flow": TEXT,
    "flux2_klein": ("text", "edit", "mask"),
    "flux2_dev": ("text", "edit"),
    "z_image": ALL,
    "lumina2": TEXT,
    "pixart_sigma": TEXT,
    "sana": TEXT,
    "sana_sprint": TEXT,
    "qwen_image": ALL,
    "qwen_image_edit": ("edit", "mask"),
    "qwen_image_edit_2511": ("edit",),
}
# Newer families, which share what other tests cover with those above: they are compared, and no more.
NEWER: dict[str, tuple[str, ...]] = {
    "kolors": ("text", "image"),
    "ovis_image": TEXT,
    "longcat_image": TEXT,
    "ernie_image": TEXT,
    "krea2": TEXT,
    "dreamlite": TEXT,
}
PAIRS = [(family, task) for family, tasks in (FAMILIES | NEWER).items() for task in tasks]
# Family -> settings without an effect.
NEGLIGIBLE = {
    "flux_schnell": ("guidance", "negative"),
    **dict.fromkeys(("flux_dev", "flux_kontext", "flux_fill", "flux2_dev", "lcm", "sana_sprint"), ("negative",)),
}
# Families of which one stands for others with the same kind of graphs.
ROUNDED = (
    "sd15",
    "sdxl",
    "sd3",
    "flux_dev",
    "chroma",
    "flux2_klein",
    "z_image",
    "qwen_image",
    "pixart_sigma",
    "sana",
    "aura_flow",
)
# Families that differ in how sizes are made: by halvings, patches, deeper autoencoders and positions of their own.
SIZED = ("sd15", "sdxl", "sd3", "flux_dev", "pixart_sigma", "sana", "flux2_klein", "z_image", "qwen_image", "aura_flow")
# Family -> the task with most inputs; diffusers has no pipeline for some of these.
SHARING = {family: tasks[-1] for family, tasks in (FAMILIES | NEWER).items()} | {
    **dict.fromkeys(
        ("pixart_alpha", "aura_flow", "lumina2", "kolors", "longcat_image", "ernie_image", "krea2"), "mask"
    ),
    **dict.fromkeys(("flux_kontext", "flux2_klein", "qwen_image_edit"), "edit"),
    **dict.fromkeys(("ovis_image", "dreamlite"), "image"),
}
# Tasks that do not start from an image.
UNCHANGED = ("text", "edit")
WIDE = (160, 96)
# Prompts of different length, in as many blocks of tokens.
LENGTHS = ("a lake", "a lake at sunset, 4k")

# Cases -> settings that differ from the default.
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "wide, no negative prompt": {"size": WIDE, "negative_prompt": ""},
    "two, unguided": {"count": 2, "guidance_scale": 1.0},
    "strength 1": {"strength": 1.0},
    "strength 0.33": {"strength": 0.33, "steps": 8},
}
# Family -> samplers with diffusers' classes and the settings that make them equal.
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
    if task in UNCHANGED:
        settings.pop("strength", None)
        references = (png(photo(150, 100)),) if task == "edit" else ()
        return Job(**usual | {"width": size[0], "height": size[1], "references": references} | settings)
    files = {"image": png(photo(*size)), "mask": png(disc(*size)) if task == "mask" else b"", "strength": 0.6}
    return Job(**usual | files | settings)


def compared() -> Iterator[tuple[str, str, str]]:
    """Yield family, task and case: only one task of a family makes two images, and only from an image is a strength."""
    for family, task in PAIRS:
        first = (FAMILIES | NEWER)[family][0]
        for case, settings in CASES.items():
            if task == first if "count" in settings else task not in UNCHANGED or "strength" not in settings:
                yield family, task, case


@pytest.fixture(scope="session")
def service(exported: Callable[..., Path], tmp_path_factory: Any) -> Iterator[Callable[..., LocalService]]:
    """Return a function from a family to the service's engine with its exported pipeline, for small images."""
    root = tmp_path_factory.mktemp("small")
    services: list[LocalService] = []

    @cache
    def made(family: str, precision: str = "fp32") -> LocalService:
        services.append(LocalService([link_model(exported(family, precision), root / precision / family)]))
        return services[-1]

    yield made
    for service in services:
        service.__exit__()


@pytest.fixture(scope="session")
def source(pipelines: Callable[[str], Path]) -> Callable[[str], Any]:
    """Return a function from a family to its pipeline in diffusers."""
    return cache(lambda family: read_pipeline(pipelines(family)))


@pytest.fixture(scope="session")
def ours(service: Callable[..., LocalService]) -> Callable[[str, Job], Any]:
    """Return a cached function that generates a job's images with the service's engine."""

    @cache
    def draw(family: str, job: Job) -> Any:
        here = service(family)
        return here.generate(prepare_job(job, here.spec))

    return draw


@pytest.fixture(scope="session")
def theirs(service: Callable[..., LocalService], source: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a cached function that generates a job's images with diffusers, with the manifest's token limit.

    The sampler of the pipeline is part of the cache's key.
    """

    @cache
    def draw(family: str, job: Job, size: tuple[int, int], sampler: str) -> Any:  # noqa: ARG001 - part of a key
        return images_of_task(source(family), job, size, max_sequence_length=service(family).spec.max_tokens)

    def generated(family: str, job: Job, size: tuple[int, int] = (128, 128)) -> Any:
        return draw(family, job, size, type(source(family).scheduler).__name__)

    return generated


@pytest.mark.parametrize(("family", "task", "case"), list(compared()))
def test_a_family_gives_diffusers_images(
    family: str, task: str, case: str, ours: Callable[..., Any], theirs: Callable[..., Any], compare: Any
) -> None:
    """From text, an image, a mask, and references; square and wide, with and without guidance, one image and two."""
    settings = dict(CASES[case])
    example = job(task, **settings)
    compare(ours(family, example), theirs(family, example, settings.get("size", (128, 128))))


@pytest.mark.parametrize("size", [(128, 128), WIDE])
@pytest.mark.parametrize("family", ["flux2_klein", "flux2_dev", "qwen_image_edit_2511"])
def test_two_references_give_diffusers_images(
    family: str, size: tuple[int, int], ours: Callable[..., Any], theirs: Callable[..., Any], compare: Any
) -> None:
    """Images of different sizes, in their order."""
    references = (png(photo(150, 100)), png(photo(70, 96).rotate(90)))
    example = job("edit", size=size, references=references)
    compare(ours(family, example), theirs(family, example, size))
    swapped = ours(family, replace(example, references=references[::-1]))
    assert np.abs(swapped - ours(family, example)).max() * 255 > 2


@pytest.mark.parametrize(("family", "sampler"), [(f, name) for f, names in SAMPLERS.items() for name in names])
def test_other_samplers_give_diffusers_image(
    family: str, sampler: str, ours: Any, theirs: Any, source: Any, compare: Any
) -> None:
    """Samplers other than the model's own, for diffusion and for flow matching."""
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


@pytest.mark.parametrize(("family", "task"), [("sd21", "text"), ("sdxl", "text"), ("sdxl_refiner", "image")])
def test_rescaled_guidance_gives_diffusers_image(
    family: str, task: str, ours: Callable[..., Any], theirs: Any, compare: Any
) -> None:
    """`guidance_rescale` equals diffusers' and changes the image."""
    example = job(task, guidance_rescale=0.7)
    generated = ours(family, example)
    assert np.abs(generated - ours(family, job(task))).max() * 255 > 2
    compare(generated, theirs(family, example))


@pytest.mark.parametrize("size", [(16, 16), (16, 4096), (97, 131)])
@pytest.mark.parametrize("family", SIZED)
def test_every_size_is_generated_at_the_nearest_possible_one(
    family: str, size: tuple[int, int], ours: Callable[..., Any], service: Callable[..., LocalService]
) -> None:
    """A size that the model cannot generate is replaced by the nearest one that it can, in every family."""
    pixels = ours(family, job(FAMILIES[family][0], size=size, steps=2))
    width, height = native_size(*size, service(family).spec)
    assert pixels.shape == (1, 3, height, width)
    assert np.isfinite(pixels).all()
    assert np.ptp(pixels) > 0


@pytest.mark.parametrize("precision", MEAN_LIMITS)
@pytest.mark.parametrize("family", ROUNDED)
def test_rounding_changes_an_image_within_its_limit(
    family: str, precision: str, service: Any, theirs: Any, record_difference: Any
) -> None:
    """With half the bytes, or a quarter, rounding changes the image only within its limit."""
    example = job(FAMILIES[family][0])
    here = service(family, precision)
    difference = record_difference(here.generate(prepare_job(example, here.spec)), theirs(family, example))
    assert 0 < np.abs(difference).mean() < MEAN_LIMITS[precision]


@pytest.mark.parametrize(
    "other",
    [{"prompt": "a red horse"}, {"negative_prompt": "rain, mud"}, {"guidance_scale": 3.0}, {"seed": 9}, {"steps": 7}],
    ids=lambda other: next(iter(other)).split("_")[0],
)
@pytest.mark.parametrize(("family", "task"), [(family, tasks[0]) for family, tasks in (FAMILIES | NEWER).items()])
def test_other_settings_change_the_image(
    family: str, task: str, other: dict[str, Any], ours: Callable[..., Any]
) -> None:
    """The comparison can fail: another value of a setting with an effect exceeds the limit."""
    away = np.abs(ours(family, job(task)) - ours(family, job(task, **other))).max() * 255
    without_effect = next(iter(other)).split("_")[0] in NEGLIGIBLE.get(family, ())
    assert away == 0 if without_effect else away > 2


def test_z_image_without_guidance_gives_diffusers_image(
    ours: Callable[..., Any], theirs: Callable[..., Any], compare: Callable[..., None]
) -> None:
    """Only a scale of 0 turns Z-Image's guidance off: a negative prompt has an effect up to there."""
    example = job("text", guidance_scale=0.0)
    compare(ours("z_image", example), theirs("z_image", example))
    assert np.array_equal(ours("z_image", example), ours("z_image", replace(example, negative_prompt="mud")))
    slightly = replace(example, guidance_scale=1.0)
    away = np.abs(ours("z_image", slightly) - ours("z_image", replace(slightly, negative_prompt="mud"))).max()
    assert away * 255 > 1


@pytest.mark.parametrize("family", ["z_image", "lumina2"])
def test_prompts_of_different_length_share_calls(
    family: str, service: Callable[..., LocalService], theirs: Any, compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts with equal numbers of blocks are rows of one call, and each image is the one of its request alone."""
    here, widths = service(family), []
    call = Denoiser.__call__

    def counted(denoiser: Denoiser, latents: Any, *rest: Any) -> Any:
        widths.append(len(latents))
        return call(denoiser, latents, *rest)

    monkeypatch.setattr(BatchWidths, "limit", lambda *_: BatchLimit(8, 8))
    monkeypatch.setattr(BatchWidths, "choose", lambda _self, _key, rows: rows)
    monkeypatch.setattr(Denoiser, "__call__", counted)
    jobs = [job("text", guidance_scale=0.0, prompt=prompt, seed=seed) for seed, prompt in enumerate(LENGTHS)]
    tasks = [here._engine.admit(prepare_job(each, here.spec)) for each in jobs]
    pixels = {}
    while here._engine.busy:
        here._engine.step()
    for task, event in here._engine.collect():
        if isinstance(event, Finished):
            pixels[task] = event.pixels
    assert widths.count(2) > 1  # the second row joins once its prompt is encoded
    compare(np.stack([pixels[task] for task in tasks]), np.concatenate([theirs(family, each) for each in jobs]))


@pytest.mark.parametrize(("family", "task"), SHARING.items())
def test_requests_share_calls(
    family: str, task: str, service: Callable[..., LocalService], ours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of two requests in one call are those made alone; one may be cancelled, and previews come on the way."""
    here, widths = service(family), set[int]()
    call = Denoiser.__call__

    def recorded(self: Denoiser, latents: Any, *rest: Any) -> Any:
        widths.add(len(latents))
        return call(self, latents, *rest)

    monkeypatch.setattr(BatchWidths, "limit", lambda *_: BatchLimit(8, 8))
    monkeypatch.setattr(BatchWidths, "choose", lambda _self, _key, rows: rows)
    monkeypatch.setattr(Denoiser, "__call__", recorded)
    first = job(task, previews=Previews(every=2))
    second, third = (job(task, seed=seed, prompt="A serene city at dusk") for seed in (8, 9))
    engine = here._engine
    here._repository.wait()
    tickets = [engine.admit(prepare_job(each, here.spec)) for each in (first, second, third)]
    while not widths:
        engine.step()
    engine.cancel(tickets[2])
    while engine.busy:
        engine.step()
    events = list(engine.collect())
    assert max(widths) >= 3
    assert [ticket for ticket, event in events if isinstance(event, Failed)] == tickets[2:]
    shown = [event for ticket, event in events if isinstance(event, Preview) and ticket is tickets[0]]
    assert len(shown) >= 1
    made = {ticket: event.pixels for ticket, event in events if isinstance(event, Finished)}
    for ticket, each in zip(tickets, (job(task), second), strict=False):
        assert np.abs(made[ticket][np.newaxis] - ours(family, each)).max() * 255 < 0.05


@pytest.mark.parametrize(("family", "task"), SHARING.items())
def test_components_take_turns_in_memory(
    family: str, task: str, exported: Callable[..., Path], ours: Any, service: Any, tmp_path: Path
) -> None:
    """With memory for less than the whole model, its components are loaded in turns, for the same images."""
    small = link_model(exported(family), tmp_path / "small")
    with LocalService([small], memory=service(family).spec.weights_bytes - 1) as turns:
        made = turns.generate(prepare_job(job(task), turns.spec))
    assert np.array_equal(made, ours(family, job(task)))


def test_flux_with_classifier_free_guidance_gives_diffusers_image(
    exported: Callable[..., Path], source: Callable[..., Any], tmp_path: Path, compare: Callable[..., None]
) -> None:
    """A manifest may select classifier-free guidance for FLUX: true_cfg_scale in diffusers."""
    guided = link_model(exported("flux_schnell"), tmp_path / "guided", guidance="classifier_free")
    example = job("text", guidance_scale=3.0)
    with LocalService([guided]) as service:
        ours = service.generate(example)
        tokens = service.spec.max_tokens
    settings = {"max_sequence_length": tokens, "true_cfg_scale": 3.0}
    compare(ours, images_of_task(source("flux_schnell"), example, (128, 128), **settings))


def test_krea2_turbo_gives_diffusers_image(
    exported: Callable[..., Path], source: Callable[..., Any], tmp_path: Path, compare: Callable[..., None]
) -> None:
    """A distilled Krea 2 has levels that do not depend on the size, and a guidance of 0."""
    turbo, pipeline = link_model(exported("krea2"), tmp_path / "turbo"), source("krea2")
    index = json.loads((turbo / "model_index.json").read_text("utf-8"))
    (turbo / "model_index.json").unlink()
    (turbo / "model_index.json").write_text(json.dumps(index | {"is_distilled": True}))
    example = job("text", guidance_scale=0.0, size=WIDE)
    with LocalService([turbo]) as service:
        ours = service.generate(example)
    pipeline.register_to_config(is_distilled=True)
    try:
        compare(ours, images_of_task(pipeline, example, WIDE))
    finally:
        pipeline.register_to_config(is_distilled=False)


def test_distilled_klein_gives_diffusers_image(
    exported: Callable[..., Path], source: Callable[..., Any], tmp_path: Path, compare: Callable[..., None]
) -> None:
    """As published, FLUX.2 klein has no guidance, and four steps unless the request names others."""
    distilled, pipeline = (
        link_model(exported("flux2_klein"), tmp_path / "distilled", defaults={}),
        source("flux2_klein"),
    )
    index = json.loads((distilled / "model_index.json").read_text("utf-8"))
    (distilled / "model_index.json").unlink()
    (distilled / "model_index.json").write_text(json.dumps(index | {"is_distilled": True}))
    example = replace(job("text"), steps=None, guidance_scale=None, negative_prompt="")
    with LocalService([distilled]) as service:
        assert (service.spec.defaults.steps, service.spec.defaults.guidance_scale) == (4, 1)
        ours = service.generate(example)
    pipeline.register_to_config(is_distilled=True)
    try:
        compare(ours, images_of_task(pipeline, replace(example, steps=4, guidance_scale=1.0), (128, 128)))
    finally:
        pipeline.register_to_config(is_distilled=False)


def test_dreamlite_mobile_gives_diffusers_image(
    exported: Callable[..., Path], source: Callable[..., Any], tmp_path: Path, compare: Callable[..., None]
) -> None:
    """The distilled form has the same graphs, and no guidance."""
    mobile = link_model(exported("dreamlite"), tmp_path / "mobile", family="dreamlite_mobile")
    with LocalService([mobile]) as service:
        ours = service.generate(job("text"))
    pipeline = diffusers.DreamLiteMobilePipeline(**source("dreamlite").components)
    compare(ours, images_of_task(pipeline, job("text"), (128, 128)))


def test_base_and_refiner_give_diffusers_image(
    exported: Callable[..., Path], source: Callable[..., Any], tmp_path: Path, compare: Callable[..., None]
) -> None:
    """SDXL's base, then its refiner for the last two fifths: denoising_end and denoising_start in diffusers."""
    (tmp_path / "refiner").symlink_to(exported("sdxl_refiner"))
    base = link_model(exported("sdxl"), tmp_path / "base", refiner={"folder": "../refiner", "share": 0.4})
    with LocalService([base]) as service:
        ours = service.generate(job("text", steps=10))
    compare(ours, two_stages(source("sdxl"), source("sdxl_refiner"), job("text", steps=10)))


def two_stages(base: Any, refiner: Any, example: Job) -> Any:
    """Return the images of both pipelines in sequence; the second continues the latents and the generator."""
    settings = {
        "prompt": example.prompt,
        "negative_prompt": example.negative_prompt,
        "num_inference_steps": example.steps,
        "guidance_scale": example.guidance_scale,
        "generator": torch.Generator("cpu").manual_seed(example.seed or 0),
    }
    for pipeline in (base, refiner):
        pipeline.set_progress_bar_config(disable=True)
    with quiet(), torch.no_grad():
        latents = base(
            **settings, width=example.width, height=example.height, denoising_end=0.6, output_type="latent"
        ).images
        vae, refiner.vae = refiner.vae, base.vae
        try:
            images = refiner(**settings, image=latents, denoising_start=0.6, output_type="np").images
        finally:
            refiner.vae = vae
    return np.moveaxis(images, -1, 1)
