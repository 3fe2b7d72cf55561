"""Published adapters give the images of diffusers: as they are, and as `tintype export --lora` writes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from shutil import copyfile
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tintype import export
from tintype.export.image_comparison import LocalService, diffusers_images
from tintype.service.engine.events import Finished
from tintype.service.job import Job, Lora
from tintype.service.prepare import prepare_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

from tests.support.export.link_model import link_model
from tests.support.export.random_adapters import write_kohya, write_peft
from tests.support.export.rounded_weights import MEAN_LIMITS, take_weights

peft = pytest.importorskip("peft")
LoraConfig, LoHaConfig, LoKrConfig = peft.LoraConfig, peft.LoHaConfig, peft.LoKrConfig
inject_adapter_in_model, get_peft_model_state_dict = peft.inject_adapter_in_model, peft.get_peft_model_state_dict
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

FAMILIES = ("sd15", "sdxl", "sd3", "flux_dev", "z_image", "sana")
ROUNDED = ("sd15", "flux_dev")
JOB = Job(prompt="A serene lake", steps=3, seed=7, guidance_scale=4.0, width=128, height=128)
CHOICES = {
    "one": (Lora("ink", 0.8),),
    "kohya": (Lora("clay", 1.0),),
    "two": (Lora("ink", 0.7), Lora("clay", -0.5)),
}


@dataclass(frozen=True)
class AdapterPair:
    """A family's engine with two adapters, and diffusers' pipeline with their source files.

    diffusers' weights equal those of the export, including their rounding.
    """

    service: LocalService
    pipeline: Any


@pytest.fixture(scope="module")
def made(exported: Callable[..., Path], pipelines: Any, tmp_path_factory: Any) -> Iterator[Callable[..., AdapterPair]]:
    """Return a function from family and precision to a model with adapters."""
    services: list[LocalService] = []

    @cache
    def give(family: str, *options: str) -> AdapterPair:
        files = tmp_path_factory.mktemp(family)
        folder = link_model(exported(family, *(options or ("fp32",)), "--with-lora"), files / family)
        pipeline = diffusers.DiffusionPipeline.from_pretrained(pipelines(family))
        take_weights(pipeline, folder)
        write_peft(pipeline, files / "ink.safetensors")
        (write_kohya if hasattr(pipeline, "unet") else write_peft)(pipeline, files / "clay.safetensors")
        assert export.main(["--lora", str(files / "ink.safetensors"), str(folder), "--force"]) == 0
        copyfile(files / "clay.safetensors", folder / "loras" / "clay.safetensors")
        for name in ("ink", "clay"):
            pipeline.load_lora_weights(files / f"{name}.safetensors", adapter_name=name)
        services.append(LocalService([folder], exact=True))
        return AdapterPair(services[-1], pipeline)

    yield give
    for service in services:
        service.__exit__()


def theirs(made: AdapterPair, job: Job) -> Any:
    """Return the images of diffusers with the job's adapters."""
    if job.loras:
        made.pipeline.enable_lora()
        made.pipeline.set_adapters([lora.name for lora in job.loras], [lora.weight for lora in job.loras])
    else:
        made.pipeline.disable_lora()
    tokens = made.service.spec.max_tokens
    return diffusers_images(made.pipeline, job, max_sequence_length=tokens, use_resolution_binning=False)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_gives_diffusers_image(family: str, choice: str, made: Any, compare: Any) -> None:
    """One adapter, one in kohya's layout that also changes the text encoder, and two with weights."""
    here, job = made(family), replace(JOB, loras=CHOICES[choice])
    ours = here.service.generate(job)
    assert np.abs(ours - here.service.generate(JOB)).max() * 255 > 4, "the adapter must change the image"
    compare(ours, theirs(here, job))


@pytest.mark.parametrize("precision", MEAN_LIMITS)
@pytest.mark.parametrize("family", ROUNDED)
def test_an_adapter_on_rounded_weights_gives_diffusers_image(
    family: str, precision: str, made: Any, compare: Any
) -> None:
    """Weights are rounded and adapters are not: the image equals diffusers' with the same rounded weights."""
    here, job = made(family, precision), replace(JOB, loras=CHOICES["two"])
    ours = here.service.generate(job)
    assert np.abs(ours - here.service.generate(JOB)).max() * 255 > 4, "the adapter must change the image"
    assert np.abs(ours - made(family).service.generate(job)).max() * 255 > 0.05, "the rounding must change the image"
    compare(ours, theirs(here, job))


@pytest.mark.parametrize(
    "options", [("fp16",), ("int8",), ("fp16", "--target", "gpu")], ids=["fp16", "int8", "fp16 for GPUs"]
)
@pytest.mark.parametrize("family", ROUNDED)
def test_rounding_changes_an_image_with_adapters_little(
    family: str, options: tuple[str, ...], made: Any, record_difference: Any
) -> None:
    """With adapters, rounding changes an image as little as without."""
    job = replace(JOB, loras=CHOICES["two"])
    difference = record_difference(made(family, *options).service.generate(job), theirs(made(family), job))
    assert 0 < np.abs(difference).mean() < MEAN_LIMITS[options[0]]


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_with_different_adapters_give_diffusers_images(family: str, made: Any, compare: Any) -> None:
    """Rows of one call may have different adapters, or none: each image equals the one generated alone."""
    here = made(family)
    jobs = [replace(JOB, loras=loras) for loras in (CHOICES["kohya"], (), CHOICES["two"])]
    engine = here.service._engine
    tasks = [engine.admit(prepare_job(job, here.service.spec)) for job in jobs]
    pixels = {}
    while engine.busy:
        engine.step()
    for task, event in engine.collect():
        if isinstance(event, Finished):
            pixels[task] = event.pixels
    ours = np.stack([pixels[task] for task in tasks])
    compare(ours, np.concatenate([theirs(here, job) for job in jobs]))


# Kinds other than LoRA -> PEFT's configuration, and whether a request can choose them.
TARGETS = {"to_q", "to_out.0", "ff.net.2", "proj_in", "conv1", "conv_in", "conv_shortcut", "conv", "time_emb_proj"}
OTHERS: dict[str, tuple[Any, bool]] = {
    "DoRA": (lambda: LoraConfig(r=4, lora_alpha=6, use_dora=True), False),
    "LoHa": (lambda: LoHaConfig(r=4, alpha=6), True),
    "LoHa with cores": (lambda: LoHaConfig(r=3, alpha=2, use_effective_conv2d=True), True),
    "LoKr": (lambda: LoKrConfig(r=2, alpha=3), True),
    "LoKr with cores": (lambda: LoKrConfig(r=2, alpha=2, use_effective_conv2d=True, decompose_both=True), True),
}


@pytest.fixture
def saved(pipelines: Any, tmp_path: Path) -> Callable[[str, str], tuple[Path, Any]]:
    """Return a function from family and kind to an adapter file saved by PEFT and diffusers' pipeline with it."""

    def give(family: str, kind: str) -> tuple[Path, Any]:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(pipelines(family))
        config = OTHERS[kind][0]()
        config.target_modules = TARGETS
        inject_adapter_in_model(config, pipeline.unet)
        pipeline.unet.peft_config = {"default": config}
        random = torch.Generator().manual_seed(3)
        tensors = {}
        for name, tensor in get_peft_model_state_dict(pipeline.unet).items():
            values = torch.randn(tensor.shape, generator=random)
            magnitude = "magnitude" in name
            tensor.copy_(tensor * (1 + values / 8) if magnitude else values / max(4.0, tensor[0].numel() ** 0.5))
            tensors[name] = tensor.contiguous()
        save_file(tensors, tmp_path / "adapter_model.safetensors")
        config.save_pretrained(tmp_path)
        return tmp_path / "adapter_model.safetensors", pipeline

    return give


@pytest.mark.parametrize(("family", "kind"), [*(("sd15", kind) for kind in OTHERS), ("sdxl", "LoKr with cores")])
def test_other_kinds_of_adapters_give_pefts_image(
    family: str, kind: str, saved: Any, exported: Any, pipelines: Any, tmp_path: Path, compare: Any
) -> None:
    """Fused, and chosen by a request if the kind is a sum: both give PEFT's image."""
    file, pipeline = saved(family, kind)
    expected = diffusers_images(pipeline, JOB, max_sequence_length=77)
    fused = ["--fuse-lora", str(file), "--no-verify"]
    assert export.main([str(pipelines(family)), str(tmp_path / "fused"), *fused]) == 0
    with LocalService([link_model(tmp_path / "fused", tmp_path / "small")]) as service:
        compare(service.generate(JOB), expected)
    folder = link_model(exported(family, "fp32", "--with-lora"), tmp_path / "model")
    assert export.main(["--lora", str(file), str(folder), "--name", "made"]) == (0 if OTHERS[kind][1] else 2)
    (folder / "loras").mkdir(exist_ok=True)
    copyfile(file, folder / "loras" / "ink.safetensors")
    copyfile(file.with_name("adapter_config.json"), folder / "loras" / "ink.json")
    with LocalService([folder]) as service:
        plain = service.generate(JOB)
        assert np.abs(plain - expected).max() * 255 > 4, "the adapter must change the image"
        if OTHERS[kind][1]:
            compare(service.generate(replace(JOB, loras=(Lora("ink", 1.0),))), expected)
            compare(service.generate(replace(JOB, loras=(Lora("made", 0.5), Lora("ink", 0.5)))), expected)
