"""Single files in original names give the images of diffusers' pipelines with the same weights."""

from __future__ import annotations

import json
from shutil import copytree
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.support.export import newer_single_files, single_files
from tests.support.export.diffusers_pipelines import images_of_task
from tests.support.export.input_images import disc, photo, png
from tintype.export.image_comparison import LocalService
from tintype.service.job import Job
from tintype.service.models.loading_options import LoadingOptions

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

SIZE = (128, 64)
FILES = single_files.FILES | newer_single_files.FILES
TASKS = {
    "sd1": "text",
    "sd1_inpainting": "mask",
    "sd2": "image",
    "sdxl": "image",
    "sdxl_v": "text",
    "ssd_1b": "text",
    "refiner": "image",
    "flux_dev": "image",
    "flux_schnell": "text",
    "flux_kontext": "edit",
    "flux_fill": "mask",
    "chroma": "image",
    "aura_flow": "text",
    "flux2_klein": "edit",
    "sd3": "image",
    "sd35": "text",
    "cosxl": "image",
    "playground": "image",
    "z_image": "text",
    "z_image_turbo": "image",
    "lumina2": "text",
    "qwen_image": "text",
}


def job(task: str) -> Job:
    settings: dict[str, Any] = {"width": SIZE[0], "height": SIZE[1], "steps": 4, "seed": 7, "guidance_scale": 5.0}
    if task == "edit":
        settings |= {"references": (png(photo(150, 100)),)}
    elif task == "image":
        settings |= {"image": png(photo(*SIZE)), "strength": 0.6}
    elif task == "mask":  # whole, since diffusers' PNDM has other levels when steps are skipped
        settings |= {"image": png(photo(*SIZE)), "mask": png(disc(*SIZE)), "strength": 1.0}
    return Job(prompt="A serene lake, at sunset!", negative_prompt="fog", **settings)


# Files that lack a tokenizer; some of them also lack text encoders.
WITHOUT_TOKENIZER = ("flux", "chroma", "aura_flow", "sd35", "z_image", "lumina2", "qwen_image")
WITHOUT_VAE = ("flux_schnell", "chroma", "z_image", "z_image_turbo", "qwen_image")


class Served:
    """The service with a file of a pipeline, whose native size is that of the test."""

    def __init__(self, root: Path) -> None:
        self._root, self._templates = root, single_files.TemplateFolder(root / "templates")

    def service(self, name: str, single: single_files.SingleFile, dtype: torch.dtype = torch.float32) -> LocalService:
        folder = self._root / f"{name}-folder"
        single.pipeline.save_pretrained(folder)
        for part, made in single.pipeline.components.items():  # transformers 5 saves no vocabulary files
            if part.startswith("tokenizer") and made is not None and made.name_or_path:
                copytree(made.name_or_path, folder / part, dirs_exist_ok=True)
        self._templates.add(folder)
        (self._root / name).mkdir(exist_ok=True)
        own = {"tintype": 1, "native_sizes": [list(SIZE)]}
        (self._root / name / "tintype.json").write_text(json.dumps(own))
        options = LoadingOptions(
            templates=self._templates.path,
            cache=self._root / "cache",
            text_encoders=folder if name.startswith(WITHOUT_TOKENIZER) else None,
            vae=single.write_vae(self._root / f"{name}-vae.safetensors") or (folder if name in WITHOUT_VAE else None),
        )
        return LocalService([single.write(self._root / f"{name}.safetensors", dtype)], options)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize("name", TASKS)
def test_a_file_gives_diffusers_images(name: str, served: Served, compare: Any) -> None:
    """The weights of a file, split and renamed where they are, give diffusers' images; a T5 comes from a folder."""
    single, example = FILES[name](), job(TASKS[name])
    with served.service(name, single) as service:
        ours, tokens = service.generate(example), service.spec.max_tokens
    compare(ours, images_of_task(single.pipeline, example, SIZE, max_sequence_length=tokens))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounded_file(dtype: torch.dtype, served: Served, compare: Any) -> None:
    """A file in float16 or bfloat16 gives the images of diffusers with the same rounded weights."""
    single, example = FILES["sd1"](), job("text")
    with served.service("sd1", single, dtype) as service:
        ours = service.generate(example)
    rounded = single.pipeline.to(dtype).to(torch.float32)
    compare(ours, images_of_task(rounded, example, SIZE))
