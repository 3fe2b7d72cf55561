"""Folders of diffusers' legacy ONNX exporter, fused or not, are served unchanged and equal diffusers."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import diffusers
import pytest
import torch

from tests.support.export.diffusers_pipelines import images_of_task
from tests.support.export.fused_folder import write_fused_folder
from tests.support.export.input_images import disc, photo, png
from tests.support.export.legacy_folder import write_legacy_folder
from tintype.export.console import quiet
from tintype.export.image_comparison import LocalService
from tintype.service.errors import ModelBroken
from tintype.service.job import Job
from tintype.service.models.folder.graph_facts import read_facts
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.pipeline import pipeline as loaded_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

SIDE = 128
CLASSES = {
    "sd15": "OnnxStableDiffusionPipeline",
    "sd21": "OnnxStableDiffusionImg2ImgPipeline",
    "sd_inpaint": "OnnxStableDiffusionInpaintPipeline",
}
TASKS = [("sd15", "text"), ("sd21", "image"), ("sd_inpaint", "mask")]
READ_BY_GRAPHS = ["sd15", "sd_inpaint", "lcm", "sdxl", "sdxl_refiner", "sd3", "flux_dev", "pixart_sigma"]
# Variance of the encoder's posterior in the tests' VAE: legacy encoders draw from it inside of the graph, by
# onnxruntime's own numbers, so a comparison needs one without chance.
NO_CHANCE = -60.0


@pytest.fixture(scope="module")
def sources(pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a family to a folder of its pipeline, whose encoder has no variance."""
    root = tmp_path_factory.mktemp("sources")

    @cache
    def made(family: str) -> Path:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(pipelines(family))
        half = pipeline.vae.config.latent_channels
        with torch.no_grad(), quiet():
            pipeline.vae.quant_conv.weight[half:] = 0
            pipeline.vae.quant_conv.bias[half:] = NO_CHANCE
            pipeline.save_pretrained(root / family)
        return root / family

    return made


@pytest.fixture(scope="module")
def legacy(sources: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a family to its legacy folder; tintype.json has only the size, which no file states."""
    root = tmp_path_factory.mktemp("legacy")

    @cache
    def made(family: str) -> Path:
        folder = write_legacy_folder(sources(family), root / family, class_name=CLASSES[family])
        (folder / "tintype.json").write_text(json.dumps({"tintype": 1, "native_sizes": [[SIDE, SIDE]]}), "utf-8")
        return folder

    return made


def job(task: str) -> Job:
    return Job(
        prompt="a lake at sunset",
        negative_prompt="fog",
        steps=6,
        seed=3,
        guidance_scale=5.0,
        count=2,
        width=SIDE if task == "text" else None,
        height=SIDE if task == "text" else None,
        image=b"" if task == "text" else png(photo(SIDE, SIDE)),
        mask=png(disc(SIDE, SIDE)) if task == "mask" else b"",
        strength=None if task == "text" else 0.6,
    )


def pair(folder: Path, source: Path, task: str) -> tuple[Any, Any]:
    """Return the images of a folder in the service, and of its pipeline in diffusers."""
    with LocalService([folder]) as service:
        ours = service.generate(job(task))
    pipeline = diffusers.DiffusionPipeline.from_pretrained(source)
    return ours, images_of_task(pipeline, job(task), (SIDE, SIDE))


def test_a_legacy_folder_has_no_configurations(legacy: Callable[[str], Path]) -> None:
    """The folder has what diffusers' script writes: no configuration of a component, weights.pb, free axes."""
    folder = legacy("sd15")
    assert not list(folder.glob("*/config.json"))
    assert (folder / "unet/weights.pb").stat().st_size > (folder / "unet/model.onnx").stat().st_size
    spec = read_manifest(folder).spec
    assert (spec.latent_channels, spec.downscale, spec.size_multiple, spec.inpaints) == (4, 8, 16, False)


@pytest.mark.parametrize(("family", "task"), TASKS)
def test_a_legacy_folder_equals_diffusers(
    family: str,
    task: str,
    legacy: Callable[[str], Path],
    sources: Callable[[str], Path],
    compare: Callable[[Any, Any], None],
) -> None:
    """Read by its graphs: the same images, two at a time, from text, from an image and with a mask."""
    compare(*pair(legacy(family), sources(family), task))


def test_graphs_and_a_tokenizer_are_enough(
    legacy: Callable[[str], Path], sources: Callable[[str], Path], tmp_path: Path, compare: Callable[[Any, Any], None]
) -> None:
    """Without model_index.json and scheduler: the family is read from the graphs, the scheduler is the usual one."""
    for part in ("text_encoder", "unet", "vae_decoder", "tokenizer", "tintype.json"):
        (tmp_path / part).symlink_to(legacy("sd15") / part)
    compare(*pair(tmp_path, sources("sd15"), "text"))


def test_a_fused_folder_equals_diffusers(
    legacy: Callable[[str], Path], sources: Callable[[str], Path], tmp_path: Path, compare: Callable[[Any, Any], None]
) -> None:
    """Fused attention and normalization have kernels for CPUs, in float16 as well."""
    folder = write_fused_folder(legacy("sd15"), tmp_path / "fused", gpu=False, components=("text_encoder", "unet"))
    operators = {name for domain, name in read_facts(folder / "unet/model.onnx").operators if domain}
    assert operators == {"Attention", "MultiHeadAttention", "SkipLayerNormalization", "Gelu"}
    compare(*pair(folder, sources("sd15"), "text"))


def test_a_fused_folder_for_gpus_is_refused_on_a_cpu(
    legacy: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Olive makes it for CUDA: it can be listed; before anything is loaded, one line names each operator."""
    folder = write_fused_folder(legacy("sd15"), tmp_path / "fused", gpu=True, components=("unet",))
    assert read_manifest(folder).spec.latent_channels == 4
    monkeypatch.setattr(loaded_pipeline, "Session", lambda *_: pytest.fail("a graph was loaded"))
    with LocalService([folder]) as service, pytest.raises(ModelBroken) as caught:
        service.generate(job("text"))
    operators = "BiasAdd, BiasSplitGelu, GroupNorm, MultiHeadAttention with packed inputs, NhwcConv, SkipGroupNorm"
    (fault,) = caught.value.faults
    assert fault.startswith(f"unet/model.onnx uses {operators} of com.microsoft, which the CPU provider does not have;")
    assert fault.endswith("use --provider cuda, or the folder without fused operators")


@pytest.mark.parametrize("family", READ_BY_GRAPHS)
def test_each_family_is_read_by_its_graphs(family: str, exported: Callable[..., Path], tmp_path: Path) -> None:
    """Graphs state what the configurations state, except for the native size."""
    folder = exported(family)
    for part in folder.iterdir():
        (tmp_path / part.name).mkdir() if part.is_dir() else None
        for file in part.iterdir() if part.is_dir() else ():
            (tmp_path / part.name / file.name).symlink_to(file)
    (tmp_path / "model_index.json").symlink_to(folder / "model_index.json")
    before = read_manifest(tmp_path)
    for name in ("model_index.json", *(f"{part.name}/config.json" for part in folder.iterdir())):
        (tmp_path / name).unlink(missing_ok=True)
    after = read_manifest(tmp_path)
    assert after.family is before.family
    same = ("latent_channels", "downscale", "size_multiple", "patch", "inpaints", "guidance", "capabilities")
    assert {name: getattr(after.spec, name) for name in same} == {name: getattr(before.spec, name) for name in same}
    for name in ("guidance_width", "aesthetic_scores", "absent_dim", "zero_negative", "lengths"):
        assert getattr(after.config, name) == getattr(before.config, name), name
