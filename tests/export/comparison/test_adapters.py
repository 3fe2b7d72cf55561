"""Adapters: what `tintype export --lora` wrote draws what diffusers draws with the published file."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tintype import export
from tintype.export.picture import Studio, by_diffusers
from tintype.service.engine.events import Finished
from tintype.service.job import Job, Lora
from tintype.service.prepare import prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("peft")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

FAMILIES = ("sd15", "sdxl", "sd3", "flux_dev")
RANK, ALPHA = 4, 6.0
JOB = Job(prompt="A serene lake", steps=3, seed=7, guidance_scale=4.0, width=128, height=128)
CHOICES = {
    "one": (Lora("ink", 0.8),),
    "kohya": (Lora("clay", 1.0),),
    "two": (Lora("ink", 0.7), Lora("clay", -0.5)),
}


def layers(module: Any) -> dict[str, tuple[int, ...]]:
    """Return the layers that published adapters change, and the shapes of their weights."""
    attending = ("to_q", "to_v", "to_out.0", "proj_in", "ff.net.2", "q_proj", "out_proj", "fc1")
    named = module.named_modules()
    return {name: tuple(layer.weight.shape) for name, layer in named if name.endswith(attending)}


def drawn(shape: tuple[int, ...], random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A [rank, in] and B [out, rank], of a convolution with two axes more."""
    out, wide, *rest = shape
    down = torch.randn(RANK, wide, *rest, generator=random) / wide**0.5
    return down, torch.randn(out, RANK, *rest, generator=random) / RANK**0.5 / 4


def peft_file(pipeline: Any, path: Path) -> None:
    """Write an adapter of the denoiser as PEFT names it."""
    random = torch.Generator().manual_seed(1)
    part = "unet" if hasattr(pipeline, "unet") else "transformer"
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in layers(getattr(pipeline, part)).items():
        down, up = drawn(shape, random)
        tensors |= {f"{part}.{name}.lora_A.weight": down, f"{part}.{name}.lora_B.weight": up}
    save_file(tensors, path)


def kohya_file(pipeline: Any, path: Path) -> None:
    """Write an adapter of denoiser and text encoder in kohya's layout, with an alpha that is not its rank."""
    random = torch.Generator().manual_seed(2)
    tensors: dict[str, torch.Tensor] = {}
    for begin, part in (
        ("lora_unet", "unet"),
        ("lora_te1" if hasattr(pipeline, "text_encoder_2") else "lora_te", "text_encoder"),
    ):
        for name, shape in layers(getattr(pipeline, part)).items():
            down, up = drawn(shape, random)
            key = f"{begin}_{name.replace('.', '_')}"
            tensors |= {
                f"{key}.lora_down.weight": down,
                f"{key}.lora_up.weight": up,
                f"{key}.alpha": torch.tensor(ALPHA),
            }
    save_file(tensors, path)


@pytest.fixture(scope="module")
def made(exported: Callable[..., Path], pipelines: Any, tmp_path_factory: Any) -> Iterator[Callable[[str], Any]]:
    """Give a family's engine with two adapters, and diffusers' pipeline with the files that they were made of."""
    studios: list[Studio] = []

    @cache
    def give(family: str) -> tuple[Studio, Any]:
        folder = exported(family, "fp32", "--with-lora")
        manifest = json.loads((folder / "tintype.json").read_text())
        (folder / "tintype.json").write_text(json.dumps(manifest | {"native_sizes": [[128, 128]]}))
        pipeline = diffusers.DiffusionPipeline.from_pretrained(pipelines(family))
        files = tmp_path_factory.mktemp(family)
        peft_file(pipeline, files / "ink.safetensors")
        (kohya_file if hasattr(pipeline, "unet") else peft_file)(pipeline, files / "clay.safetensors")
        for name in ("ink", "clay"):
            assert export.main(["--lora", str(files / f"{name}.safetensors"), str(folder), "--force"]) == 0
            pipeline.load_lora_weights(files / f"{name}.safetensors", adapter_name=name)
        studios.append(Studio([folder]))
        return studios[-1], pipeline

    yield give
    for studio in studios:
        studio.__exit__()


def theirs(studio: Studio, pipeline: Any, job: Job) -> Any:
    """Draw with diffusers, and the adapters that the job names."""
    if job.loras:
        pipeline.enable_lora()
        pipeline.set_adapters([lora.name for lora in job.loras], [lora.weight for lora in job.loras])
    else:
        pipeline.disable_lora()
    return by_diffusers(pipeline, job, max_sequence_length=studio.spec.max_tokens)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("family", FAMILIES)
def test_adapter(family: str, choice: str, made: Any, compare: Any) -> None:
    """One, one of kohya's layout that changes the text encoder too, and two with weights."""
    studio, pipeline = made(family)
    job = replace(JOB, loras=CHOICES[choice])
    ours = studio.draw(job)
    assert np.abs(ours - studio.draw(JOB)).max() * 255 > 4, "an adapter shows"
    compare(ours, theirs(studio, pipeline, job))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_with_adapters_of_their_own(family: str, made: Any, compare: Any) -> None:
    """Rows of one call may have other adapters, or none: each picture is the one that it is alone."""
    studio, pipeline = made(family)
    jobs = [replace(JOB, loras=loras) for loras in (CHOICES["kohya"], (), CHOICES["two"])]
    engine = studio._engine
    tasks = [engine.admit(prepared(job, studio.spec)) for job in jobs]
    pixels = {}
    while engine.busy:
        engine.step()
    for task, event in engine.collect():
        if isinstance(event, Finished):
            pixels[task] = event.pixels
    ours = np.stack([pixels[task] for task in tasks])
    compare(ours, np.concatenate([theirs(studio, pipeline, job) for job in jobs]))
