"""Published weights in templates give diffusers' images, for every architecture and way of storing weights."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from shutil import copyfile, copytree
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch

from tests.support.export.diffusers_pipelines import images_of_task, read_pipeline
from tests.support.export.float32_templates import make
from tests.support.export.input_images import disc, photo, png
from tests.support.export.random_adapters import load_embedding, write_kohya, write_peft
from tintype.export.image_comparison import LocalService
from tintype.export.source import INDEX
from tintype.export.templates.folder import write
from tintype.export.templates.pipelines import graph_configs
from tintype.service.errors import InvalidField
from tintype.service.job import Job, Lora
from tintype.service.models.loading_options import LoadingOptions, Precision
from tintype.service.models.weights import quantizing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

# Family -> the tasks that are compared; those that diffusers' pipelines support without changes.
FAMILIES: dict[str, tuple[str, ...]] = {
    "sd15": ("text",),
    "sd21": ("text", "image"),
    "sd_inpaint": ("mask",),
    "lcm": ("text", "image"),
    "sdxl": ("text", "image"),
    "sdxl_turbo": ("text",),
    "playground": ("text", "image"),
    "cosxl": ("text",),
    "sdxl_inpaint": ("mask",),
    "sdxl_refiner": ("image",),
    "sd3": ("text", "image"),
    "sd35": ("text",),
    "flux_schnell": ("text",),
    "flux_dev": ("text", "image"),
    "flux_kontext": ("edit",),
    "flux_fill": ("mask",),
    "chroma": ("text", "image"),
    "z_image": ("text", "mask"),
    "lumina2": ("text",),
    "flux2_klein": ("text", "edits", "mask"),
    "flux2_dev": ("edit",),
    "pixart_alpha": ("text",),
    "aura_flow": ("text",),
    "pixart_sigma": ("text",),
    "sana": ("text",),
    "sana_sprint": ("text",),
    "kolors": ("text",),
    "ovis_image": ("text",),
    "longcat_image": ("text",),
    "ernie_image": ("text",),
    "krea2": ("text",),
    "dreamlite": ("text",),
    "qwen_image": ("text", "image"),
    "qwen_image_edit": ("edit",),
    "qwen_image_edit_plus": ("edits",),
}
PAIRS = [(family, task) for family, tasks in FAMILIES.items() for task in tasks]
SIZE = (128, 96)


def job(task: str, **settings: Any) -> Job:
    usual: dict[str, Any] = {"prompt": "A serene lake at sunset", "negative_prompt": "fog", "steps": 4, "seed": 7}
    usual |= {"guidance_scale": 5.0, "width": SIZE[0], "height": SIZE[1]}
    if task.startswith("edit"):
        usual["references"] = (png(photo(150, 100)), png(disc(90, 120)))[: 1 + (task == "edits")]
    elif task != "text":
        usual |= {"image": png(photo(*SIZE)), "mask": png(disc(*SIZE)) if task == "mask" else b"", "strength": 0.6}
    return Job(**usual | settings)


class Published:
    """Folders of published weights for the random pipelines, and the templates that fit them."""

    def __init__(self, pipelines: Callable[[str], Path], root: Path) -> None:
        self._pipelines, self._root = pipelines, root
        self.folder, self.templates = cache(self._folder), cache(self._templates)
        self._made: set[str] = set()

    def options(self, family: str, **settings: Any) -> LoadingOptions:
        """Return options with the templates of a family."""
        cache_folder = self._root / "cache"
        return LoadingOptions(templates=self.templates(family), cache=cache_folder, **settings)

    def pipeline(self, family: str) -> Any:
        """Return the pipeline of a family in diffusers."""
        return read_pipeline(self._pipelines(family))

    def _templates(self, family: str) -> Path:
        """Make the templates that no family before has needed, traced once, in one folder for all families."""
        out, configs = self._root / "templates", graph_configs(self._pipelines(family))
        write(out, {name: make(configs[name][1]) for name in configs.keys() - self._made})
        self._made |= configs.keys()
        return out

    def _folder(self, family: str, *, half: bool = False, **saving: Any) -> Path:
        """Return a folder in diffusers' layout that generates small images."""
        name = "-".join((family, "half" if half else "float", *map(str, saving.values())))
        folder = self._root / name
        pipeline = self.pipeline(family)
        (pipeline.to(torch.float16) if half else pipeline).save_pretrained(folder, **saving)
        for tokenizer in self._pipelines(family).glob("tokenizer*"):  # transformers 5 saves no vocabulary files
            copytree(tokenizer, folder / tokenizer.name, dirs_exist_ok=True)
        copyfile(self._pipelines(family) / INDEX, folder / INDEX)  # with the published classes of tokenizers
        own = {"tintype": 1, "name": family, "native_sizes": [list(SIZE)]}
        (folder / "tintype.json").write_text(json.dumps(own))
        return folder


@pytest.fixture(scope="module")
def published(pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(pipelines, tmp_path_factory.mktemp("published"))


@pytest.mark.parametrize(("family", "task"), PAIRS)
def test_a_folder_gives_diffusers_images(family: str, task: str, published: Published, compare: Any) -> None:
    """The weights of a diffusers folder, pointed at where they are, give diffusers' images."""
    example = job(task)
    with LocalService([published.folder(family)], published.options(family)) as service:
        ours, tokens = service.generate(example), service.spec.max_tokens
    compare(ours, images_of_task(published.pipeline(family), example, SIZE, max_sequence_length=tokens))


@pytest.mark.parametrize(
    ("family", "saving"),
    [("sdxl", {"variant": "fp16"}), ("flux_dev", {"variant": "fp16", "max_shard_size": "40KB"})],
)
def test_rounded_and_sharded_weights_give_diffusers_images(
    family: str, saving: dict[str, Any], published: Published, compare: Any
) -> None:
    """Variants in float16, in one file or in shards, give the images of diffusers with the same numbers."""
    folder, example = published.folder(family, half=True, **saving), job("text")
    with LocalService([folder], published.options(family)) as service:
        ours, tokens = service.generate(example), service.spec.max_tokens
    theirs = diffusers.DiffusionPipeline.from_pretrained(folder, variant="fp16", torch_dtype=torch.float32)
    compare(ours, images_of_task(theirs, example, SIZE, max_sequence_length=tokens))


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux_dev", "flux2_klein", "chroma", "aura_flow"])
def test_adapters_and_embeddings_apply_to_published_weights(
    family: str, published: Published, tmp_path: Path, compare: Any
) -> None:
    """Published adapters and embeddings, copied into the model's folder as they are, give diffusers' images.

    A model that is loaded before it has the folder of adapters refuses them, with advice.
    """
    folder, pipeline = copytree(published.folder(family), tmp_path / family), published.pipeline(family)
    example = job("text", loras=(Lora("ink", 0.8), Lora("clay", -0.5)))
    with LocalService([folder], published.options(family)) as service:
        plain = service.generate(job("text"))
        (folder / "loras").mkdir()
        write_peft(pipeline, folder / "loras" / "ink.safetensors")
        (write_kohya if hasattr(pipeline, "unet") else write_peft)(pipeline, folder / "loras" / "clay.safetensors")
        service._repository.load()
        with pytest.raises(InvalidField, match=r"'ink' cannot be used, as this model takes no adapters: .*unloaded"):
            service.generate(example)
        for name in ("ink", "clay"):
            pipeline.load_lora_weights(folder / "loras" / f"{name}.safetensors", adapter_name=name)
        pipeline.set_adapters(["ink", "clay"], [0.8, -0.5])
        if hasattr(pipeline, "unet"):
            (folder / "embeddings").mkdir()
            load_embedding(pipeline, folder / "embeddings", "<cat>", 3)
            example = replace(example, prompt="A serene <cat> at sunset", embeddings=("<cat>",))
        service._engine.step()  # releases the model
        service._repository.unload(service.spec.name)
        service._repository.load()
        ours, tokens = service.generate(example), service.spec.max_tokens
        assert abs(plain - ours).max() * 255 > 4, "adapters must change the image"
        compare(ours, images_of_task(pipeline, example, SIZE, max_sequence_length=tokens))
        compare(service.generate(job("text")), plain)


def test_mapped_weights_give_diffusers_images(published: Published, compare: Any) -> None:
    """Weights that stay in the mapped file give the same images."""
    example = job("text")
    with LocalService([published.folder("sd21")], published.options("sd21", mapped=True)) as service:
        ours = service.generate(example)
    compare(ours, images_of_task(published.pipeline("sd21"), example, SIZE))


@pytest.mark.parametrize(("precision", "limit"), [(Precision.INT8, 2.0), (Precision.INT4, 12.0)])
def test_quantized_weights_change_images_little(
    precision: Precision, limit: float, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By few levels of 255 on average, although layers are quantized that are kept elsewhere because they are small."""
    monkeypatch.setattr(quantizing, "SMALLEST", 1024)
    images = []
    for wanted in (Precision.AUTO, precision):
        with LocalService([published.folder("sdxl")], published.options("sdxl", precision=wanted)) as service:
            images.append(service.generate(job("text")))
            spec = service.spec
    assert spec.precision == precision
    assert "layers in" in spec.description
    assert 0.05 < 255 * np.abs(images[0] - images[1]).mean() < limit
