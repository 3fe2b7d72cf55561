"""Adapters: what `tintype export --lora` wrote draws what diffusers draws with the published file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tintype import export
from tintype.export.image_comparison import Studio, by_diffusers
from tintype.service.engine.events import Finished
from tintype.service.job import Job, Lora
from tintype.service.prepare import prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

from tests.support.export.linked import linked
from tests.support.export.rounded import PRECISIONS, take_weights

peft = pytest.importorskip("peft")
LoraConfig, LoHaConfig, LoKrConfig = peft.LoraConfig, peft.LoHaConfig, peft.LoKrConfig
inject_adapter_in_model, get_peft_model_state_dict = peft.inject_adapter_in_model, peft.get_peft_model_state_dict
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

FAMILIES = ("sd15", "sdxl", "sd3", "flux_dev", "sana")
ROUNDED = ("sd15", "flux_dev")
RANK, ALPHA = 4, 6.0
JOB = Job(prompt="A serene lake", steps=3, seed=7, guidance_scale=4.0, width=128, height=128)
CHOICES = {
    "one": (Lora("ink", 0.8),),
    "kohya": (Lora("clay", 1.0),),
    "two": (Lora("ink", 0.7), Lora("clay", -0.5)),
}


def layers(module: Any) -> dict[str, tuple[int, ...]]:
    """Return the layers that published adapters change, and the shapes of their weights."""
    linear = ("to_q", "to_v", "to_out.0", "proj_in", "ff.net.2", "q_proj", "out_proj", "fc1", "time_emb_proj")
    convolutions = ("conv_in", "conv1", "conv2", "conv_shortcut", "samplers.0.conv", "conv_out", "pos_embed.proj")
    changed = (*linear, *convolutions, "time_embedding.linear_1")
    named = module.named_modules()
    return {name: tuple(layer.weight.shape) for name, layer in named if name.endswith(changed)}


def drawn(shape: tuple[int, ...], random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A [rank, in] and B [out, rank]; of a convolution A has its kernel, and B is 1 by 1."""
    out, wide, *kernel = shape
    down = torch.randn(RANK, wide, *kernel, generator=random) / math.prod(shape[1:]) ** 0.5
    return down, torch.randn(out, RANK, *(1 for _ in kernel), generator=random) / RANK**0.5 / 4


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


@dataclass(frozen=True)
class Adapted:
    """A family's engine with two adapters, and diffusers' pipeline with the files that they were made of.

    The weights of diffusers' are those of the export, rounded where it rounds.
    """

    studio: Studio
    pipeline: Any


@pytest.fixture(scope="module")
def made(exported: Callable[..., Path], pipelines: Any, tmp_path_factory: Any) -> Iterator[Callable[..., Adapted]]:
    """Give a family with adapters, in a precision."""
    studios: list[Studio] = []

    @cache
    def give(family: str, *options: str) -> Adapted:
        files = tmp_path_factory.mktemp(family)
        folder = linked(exported(family, *(options or ("fp32",)), "--with-lora"), files / family)
        pipeline = diffusers.DiffusionPipeline.from_pretrained(pipelines(family))
        take_weights(pipeline, folder)
        peft_file(pipeline, files / "ink.safetensors")
        (kohya_file if hasattr(pipeline, "unet") else peft_file)(pipeline, files / "clay.safetensors")
        for name in ("ink", "clay"):
            assert export.main(["--lora", str(files / f"{name}.safetensors"), str(folder), "--force"]) == 0
            pipeline.load_lora_weights(files / f"{name}.safetensors", adapter_name=name)
        studios.append(Studio([folder]))
        return Adapted(studios[-1], pipeline)

    yield give
    for studio in studios:
        studio.__exit__()


def theirs(made: Adapted, job: Job) -> Any:
    """Draw with diffusers, and the adapters that the job names."""
    if job.loras:
        made.pipeline.enable_lora()
        made.pipeline.set_adapters([lora.name for lora in job.loras], [lora.weight for lora in job.loras])
    else:
        made.pipeline.disable_lora()
    tokens = made.studio.spec.max_tokens
    return by_diffusers(made.pipeline, job, max_sequence_length=tokens, use_resolution_binning=False)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("family", FAMILIES)
def test_adapter(family: str, choice: str, made: Any, compare: Any) -> None:
    """One, one of kohya's layout that changes the text encoder too, and two with weights."""
    here, job = made(family), replace(JOB, loras=CHOICES[choice])
    ours = here.studio.draw(job)
    assert np.abs(ours - here.studio.draw(JOB)).max() * 255 > 4, "an adapter shows"
    compare(ours, theirs(here, job))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", ROUNDED)
def test_adapter_on_rounded_weights(family: str, precision: str, made: Any, compare: Any) -> None:
    """Weights are rounded and adapters are not: the picture is diffusers' with the same rounded weights."""
    here, job = made(family, precision), replace(JOB, loras=CHOICES["two"])
    ours = here.studio.draw(job)
    assert np.abs(ours - here.studio.draw(JOB)).max() * 255 > 4, "an adapter shows"
    assert np.abs(ours - made(family).studio.draw(job)).max() * 255 > 0.05, "so does the rounding"
    compare(ours, theirs(here, job))


@pytest.mark.parametrize(
    "options", [("fp16",), ("int8",), ("fp16", "--target", "gpu")], ids=["fp16", "int8", "fp16 for GPUs"]
)
@pytest.mark.parametrize("family", ROUNDED)
def test_adapter_in_a_precision(family: str, options: tuple[str, ...], made: Any, noted: Any) -> None:
    """As it is served: with adapters rounding moves a picture by as much as without, and no more."""
    job = replace(JOB, loras=CHOICES["two"])
    apart = noted(made(family, *options).studio.draw(job), theirs(made(family), job))
    assert 0 < np.abs(apart).mean() < PRECISIONS[options[0]]


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_with_adapters_of_their_own(family: str, made: Any, compare: Any) -> None:
    """Rows of one call may have other adapters, or none: each picture is the one that it is alone."""
    here = made(family)
    jobs = [replace(JOB, loras=loras) for loras in (CHOICES["kohya"], (), CHOICES["two"])]
    engine = here.studio._engine
    tasks = [engine.admit(prepared(job, here.studio.spec)) for job in jobs]
    pixels = {}
    while engine.busy:
        engine.step()
    for task, event in engine.collect():
        if isinstance(event, Finished):
            pixels[task] = event.pixels
    ours = np.stack([pixels[task] for task in tasks])
    compare(ours, np.concatenate([theirs(here, job) for job in jobs]))


# Kinds of adapters that are no LoRA, as PEFT makes them, and whether a request can choose them.
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
    """Give an adapter of a kind as PEFT saves it, and diffusers' pipeline with it."""

    def give(family: str, kind: str) -> tuple[Path, Any]:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(pipelines(family))
        config = OTHERS[kind][0]()
        config.target_modules = TARGETS
        inject_adapter_in_model(config, pipeline.unet)
        pipeline.unet.peft_config = {"default": config}
        random = torch.Generator().manual_seed(3)
        tensors = {}
        for name, tensor in get_peft_model_state_dict(pipeline.unet).items():
            drawn = torch.randn(tensor.shape, generator=random)
            magnitude = "magnitude" in name
            tensor.copy_(tensor * (1 + drawn / 8) if magnitude else drawn / max(4.0, tensor[0].numel() ** 0.5))
            tensors[name] = tensor.contiguous()
        save_file(tensors, tmp_path / "adapter_model.safetensors")
        config.save_pretrained(tmp_path)
        return tmp_path / "adapter_model.safetensors", pipeline

    return give


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_other_kinds(
    family: str, kind: str, saved: Any, exported: Any, pipelines: Any, tmp_path: Path, compare: Any
) -> None:
    """Fused to the weights, and chosen by a request where the kind is a sum: both times the image of PEFT's."""
    file, pipeline = saved(family, kind)
    expected = by_diffusers(pipeline, JOB, max_sequence_length=77)
    fused = ["--fuse-lora", str(file), "--no-verify"]
    assert export.main([str(pipelines(family)), str(tmp_path / "fused"), *fused]) == 0
    with Studio([linked(tmp_path / "fused", tmp_path / "small")]) as studio:
        compare(studio.draw(JOB), expected)
    folder = linked(exported(family, "fp32", "--with-lora"), tmp_path / "model")
    assert export.main(["--lora", str(file), str(folder), "--name", "ink"]) == (0 if OTHERS[kind][1] else 2)
    with Studio([folder]) as studio:
        plain = studio.draw(JOB)
        assert np.abs(plain - expected).max() * 255 > 4, "an adapter shows"
        if OTHERS[kind][1]:
            compare(studio.draw(replace(JOB, loras=(Lora("ink", 1.0),))), expected)
