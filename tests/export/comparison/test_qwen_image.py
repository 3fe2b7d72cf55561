"""Qwen-Image-Edit from files as ComfyUI has them, and with adapters, against diffusers' pipelines."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.export.diffusers_pipelines import images_of_task
from tests.support.export.input_images import disc, photo, png
from tests.support.export.link_model import link_model
from tests.support.export.single_files import TemplateFolder
from tintype.export.image_comparison import LocalService
from tintype.service.engine.events import Failed, Finished
from tintype.service.job import Job, Lora
from tintype.service.models.checkpoint import wan_names
from tintype.service.models.loading_options import LoadingOptions
from tintype.service.prepare import prepare_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

SIZE = (128, 96)
FAMILY = "qwen_image_edit_2511"
JOB = Job(
    prompt="make it blue",
    negative_prompt="",
    width=SIZE[0],
    height=SIZE[1],
    steps=3,
    seed=7,
    guidance_scale=3.0,
    references=(png(photo(150, 100)), png(disc(90, 120))),
)


def test_comfyui_files_give_diffusers_image(pipelines: Callable[[str], Path], tmp_path: Path, compare: Any) -> None:
    """The transformer in FP8 with the marker of Edit-2511, and the autoencoder in the names of Wan's."""
    source = pipelines(FAMILY)
    templates = TemplateFolder(tmp_path / "templates")
    templates.add(source)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(source, processor=None)
    narrow = {name: weight.to(torch.float8_e4m3fn) for name, weight in pipeline.transformer.state_dict().items()}
    pipeline.transformer.load_state_dict({name: weight.float() for name, weight in narrow.items()})
    save_file(narrow | {"__index_timestep_zero__": torch.zeros(0)}, tmp_path / "edit.safetensors")
    save_file(
        in_wans_names(load_file(source / "vae" / "diffusion_pytorch_model.safetensors")), tmp_path / "vae.safetensors"
    )
    (tmp_path / "edit").mkdir()
    (tmp_path / "edit" / "tintype.json").write_text(json.dumps({"tintype": 1, "native_sizes": [list(SIZE)]}))
    options = LoadingOptions(
        templates=templates.path, cache=tmp_path / "cache", text_encoders=source, vae=tmp_path / "vae.safetensors"
    )
    with LocalService([tmp_path / "edit.safetensors"], options) as service:
        assert service.spec.max_references == 3
        assert service.spec.precision == "fp8"
        ours = service.generate(JOB)
    compare(ours, images_of_task(pipeline, JOB, SIZE))


def in_wans_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    named = ((name.rpartition("."), tensor) for name, tensor in state.items())
    return {f"{wan_names.original(layer)}.{kind}": tensor for (layer, _, kind), tensor in named}


def test_rows_with_different_adapters_give_diffusers_images(
    exported: Callable[..., Path], pipelines: Callable[[str], Path], tmp_path: Path, compare: Any
) -> None:
    """Adapters of every layer, the modulation for two times among them; a row without one shares the call."""
    here = link_model(exported(FAMILY, "fp32", "--with-lora"), tmp_path / FAMILY)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(pipelines(FAMILY), processor=None)
    (here / "loras").mkdir()
    write_lightning(pipeline.transformer, here / "loras" / "light.safetensors")
    pipeline.load_lora_weights(here / "loras" / "light.safetensors", adapter_name="light")
    jobs = {False: JOB, True: replace(JOB, loras=(Lora("light", 0.7),))}
    with LocalService([here]) as service:
        engine = service._engine
        tasks = {engine.admit(prepare_job(job, service.spec)): adapted for adapted, job in jobs.items()}
        while engine.busy:
            engine.step()
        events = list(engine.collect())
        assert not [event for _, event in events if isinstance(event, Failed)]
        pixels = {tasks[task]: event.pixels for task, event in events if isinstance(event, Finished)}
    assert abs(pixels[False] - pixels[True]).max() * 255 > 4
    pipeline.set_adapters(["light"], [0.7])
    compare(pixels[True][None], images_of_task(pipeline, JOB, SIZE))
    pipeline.disable_lora()
    compare(pixels[False][None], images_of_task(pipeline, JOB, SIZE))


def write_lightning(transformer: torch.nn.Module, path: Path) -> None:
    """Write an adapter of all linear layers of the blocks, with the names of Qwen-Image-Lightning."""
    random = torch.Generator().manual_seed(3)
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in transformer.named_modules():
        if isinstance(layer, torch.nn.Linear) and name.startswith("transformer_blocks."):
            out, wide = layer.weight.shape
            tensors[f"{name}.lora_down.weight"] = torch.randn(2, wide, generator=random) / wide**0.5
            tensors[f"{name}.lora_up.weight"] = torch.randn(out, 2, generator=random) / 4
            tensors[f"{name}.alpha"] = torch.tensor(1.0)
    save_file(tensors, path)
