"""ControlNets give diffusers' images: weights, ranges of steps, two at once, and rows of one call with and without."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from io import BytesIO
from shutil import copytree
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from tests.support.export.float32_templates import make
from tests.support.export.input_images import disc, photo, png
from tintype.export.console import quiet
from tintype.export.image_comparison import LocalService
from tintype.export.templates.folder import write
from tintype.export.templates.making import GraphConfig
from tintype.export.templates.pipelines import graph_configs
from tintype.service.engine.events import Finished
from tintype.service.errors import InvalidField
from tintype.service.job import Control, ImageFile, Job
from tintype.service.models.control.files import KINDS
from tintype.service.models.loading_options import LoadingOptions
from tintype.service.models.templates.keys import shaping
from tintype.service.prepare import prepare_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

PIPELINES = {
    "sd15": ("StableDiffusionControlNet", "image", {}),
    "sdxl": ("StableDiffusionXLControlNet", "image", {}),
    "sd35": ("StableDiffusion3ControlNet", "control_image", {}),
    "flux_dev": ("FluxControlNet", "control_image", {"max_sequence_length": 512}),
}
SIZE = (96, 64)
NAMES = ("edges", "depth")
LEVELS = 2


def controlnet(family: str, pipeline: Any, seed: int, **options: Any) -> Any:
    """Return a random ControlNet for a pipeline."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = _random(family, pipeline, **options)
        with torch.no_grad():
            for name, weight in made.named_parameters():
                if name.startswith("controlnet_"):  # zero in a new ControlNet
                    weight.add_(torch.randn_like(weight) * 0.2)
    return made.eval()


def _random(family: str, pipeline: Any, **options: Any) -> Any:
    if family in ("sd15", "sdxl"):
        return diffusers.ControlNetModel.from_unet(pipeline.unet, conditioning_embedding_out_channels=(8, 16, 16, 32))
    if family == "sd35":
        return diffusers.SD3ControlNetModel.from_transformer(pipeline.transformer, 1, num_extra_conditioning_channels=0)
    own = dict(pipeline.transformer.config) | {"num_layers": 1, "num_single_layers": 1, "axes_dims_rope": [4, 4, 8]}
    return diffusers.FluxControlNetModel(**{name: own[name] for name in FLUX_FIELDS} | options)


FLUX_FIELDS = (
    *("patch_size", "in_channels", "num_layers", "num_single_layers", "attention_head_dim", "num_attention_heads"),
    *("joint_attention_dim", "pooled_projection_dim", "guidance_embeds", "axes_dims_rope"),
)


class Controlled:
    """Published folders of random pipelines with two ControlNets each, and templates that fit."""

    def __init__(self, pipelines: Callable[[str], Path], root: Path) -> None:
        self._pipelines, self._root = pipelines, root
        self.service, self.pipeline, self.nets = cache(self._service), cache(self._pipeline), cache(self._nets)
        self._services: list[LocalService] = []

    def close(self) -> None:
        for service in self._services:
            service.__exit__()

    def _pipeline(self, family: str) -> Any:
        return diffusers.DiffusionPipeline.from_pretrained(self._pipelines(family))

    def _nets(self, family: str) -> dict[str, Any]:
        nets = {name: controlnet(family, self.pipeline(family), seed) for seed, name in enumerate(NAMES)}
        if family == "flux_dev":
            nets["union"] = controlnet(family, self.pipeline(family), 2, num_mode=3)
        return nets

    def _service(self, family: str) -> LocalService:
        folder = copytree(self._pipelines(family), self._root / family, dirs_exist_ok=True)
        (folder / "tintype.json").write_text(json.dumps({"tintype": 1, "native_sizes": [list(SIZE)]}))
        made = {name: make(config) for name, (_, config) in graph_configs(folder).items()}
        for name, net in self.nets(family).items():
            net.save_pretrained(folder / "controlnets" / name)
            config = json.loads((folder / "controlnets" / name / "config.json").read_text())
            kind = KINDS[config["_class_name"]].kind
            own = GraphConfig(kind=kind, fields=shaping(kind, config), pooled_width=pooled_width(folder))
            made[f"{family}-{kind}-{name}"] = make(own)
        write(self._root / f"{family}-templates", made)
        options = LoadingOptions(templates=self._root / f"{family}-templates", cache=self._root / "cache")
        self._services.append(LocalService([folder], options))
        return self._services[-1]

    def theirs(self, family: str, job: Job) -> Any:
        """Return the images of diffusers' pipeline."""
        stem, field, settings = PIPELINES[family]
        kind, pipeline = getattr(diffusers, f"{stem}Pipeline"), self.pipeline(family)
        nets = [self.nets(family)[control.name] for control in job.controls]
        several = {"StableDiffusion3ControlNet": diffusers.SD3MultiControlNetModel}.get(stem, list)
        parts = {name: part for name, part in pipeline.components.items() if name != "feature_extractor"}
        if stem == "StableDiffusionControlNet":
            parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        chosen = kind(**parts, controlnet=nets[0] if len(nets) == 1 else several(nets))
        chosen.set_progress_bar_config(disable=True)
        values: dict[str, Any] = {
            field: [Image.open(BytesIO(control.image)).convert("RGB") for control in job.controls],
            "controlnet_conditioning_scale": [control.weight for control in job.controls],
            "control_guidance_start": [control.start for control in job.controls],
            "control_guidance_end": [control.end for control in job.controls],
        }
        if len(nets) == 1:
            values = {name: value[0] for name, value in values.items()}
        if stem.startswith("Flux"):
            values["negative_prompt"] = None
            values["control_mode"] = next((control.mode for control in job.controls if control.name == "union"), None)
        with quiet(), torch.no_grad():
            images = [
                chosen(
                    prompt=job.prompt,
                    num_inference_steps=job.steps,
                    guidance_scale=job.guidance_scale,
                    width=SIZE[0],
                    height=SIZE[1],
                    generator=torch.Generator("cpu").manual_seed((job.seed or 0) + k),
                    output_type="np",
                    **({"negative_prompt": job.negative_prompt} | settings | values),
                ).images
                for k in range(job.count)
            ]
        return np.moveaxis(np.concatenate(images), -1, 1)


def pooled_width(folder: Path) -> int:
    path = folder / "text_encoder_2" / "config.json"
    return json.loads(path.read_text()).get("projection_dim", 0) if path.exists() else 0


@pytest.fixture(scope="module")
def controlled(pipelines: Callable[[str], Path], tmp_path_factory: Any) -> Iterator[Controlled]:
    made = Controlled(pipelines, tmp_path_factory.mktemp("controls"))
    yield made
    made.close()


def job(*controls: Control, **settings: Any) -> Job:
    usual: dict[str, Any] = {"prompt": "A serene lake at sunset", "negative_prompt": "fog", "steps": 4, "seed": 7}
    return Job(**usual | {"guidance_scale": 5.0, "width": SIZE[0], "height": SIZE[1], "controls": controls} | settings)


EDGES = Control(name="edges", image=png(photo(*SIZE)), weight=0.8)
DEPTH = Control(name="depth", image=png(disc(*SIZE)), weight=1.2, end=0.5)
CASES: dict[str, tuple[tuple[Control, ...], dict[str, Any]]] = {
    "one": ((EDGES,), {"count": 2}),
    "two": ((EDGES, DEPTH), {}),
    "unguided": ((DEPTH,), {"guidance_scale": 1.0}),
}


@pytest.fixture(autouse=True)
def _modes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace posteriors that diffusers draws without the seed's generator, for SD3's hints, by their modes."""
    posterior = diffusers.models.autoencoders.vae.DiagonalGaussianDistribution
    sample = posterior.sample
    monkeypatch.setattr(
        posterior, "sample", lambda own, generator=None: sample(own, generator) if generator else own.mode()
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", PIPELINES)
def test_controls_give_diffusers_images(family: str, case: str, controlled: Controlled, compare: Any) -> None:
    """One ControlNet, two with their own weights and ranges, and without guidance."""
    controls, settings = CASES[case]
    example = job(*controls, **settings)
    ours = controlled.service(family).generate(example)
    assert np.abs(ours - controlled.service(family).generate(job(**settings))).max() * 255 > LEVELS
    compare(ours, controlled.theirs(family, example))


@pytest.mark.parametrize("family", PIPELINES)
def test_rows_with_and_without_controls_share_calls(family: str, controlled: Controlled, compare: Any) -> None:
    """One request with a ControlNet, one with another, and one without: each image equals the one generated alone."""
    here = controlled.service(family)
    jobs = [job(*controls, seed=seed) for seed, controls in enumerate(((EDGES,), (DEPTH,), ()))]
    engine = here._engine
    tasks = [engine.admit(prepare_job(each, here.spec)) for each in jobs]
    while engine.busy:
        engine.step()
    made = {task: event.pixels for task, event in engine.collect() if isinstance(event, Finished)}
    for task, each in zip(tasks, jobs, strict=True):
        compare(made[task][np.newaxis], here.generate(each))


@pytest.mark.parametrize("mode", [1, 2])
def test_a_union_controlnet_gives_diffusers_image(mode: int, controlled: Controlled, record_difference: Any) -> None:
    """A ControlNet of FLUX.1 for several kinds of hints reads the kind's number, one token beside those of the text."""
    controls = (Control(name="union", image=EDGES.image, weight=0.8, mode=mode),)
    ours = controlled.service("flux_dev").generate(job(*controls))
    other = controlled.service("flux_dev").generate(job(replace(controls[0], mode=0)))
    difference = np.abs(record_difference(ours, controlled.theirs("flux_dev", job(*controls)))).max()
    assert 10 * difference < np.abs(ours - other).max() * 255 < LEVELS


def test_a_control_of_another_model_is_refused(controlled: Controlled) -> None:
    """The error names the field, the value and what the model has."""
    problem = "'pose' is not a ControlNet of model 'sd15': its ControlNets are depth, edges"
    with pytest.raises(InvalidField, match=problem):
        controlled.service("sd15").generate(job(Control(name="pose", image=EDGES.image)))


def image_adapter(pipeline: Any, folder: Path) -> dict[str, Any]:
    """Write a random IP-Adapter with its image encoder to a folder; return its weights as diffusers loads them."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = transformers.CLIPVisionConfig(**sizes, projection_dim=24, patch_size=32)
        encoder = transformers.CLIPVisionModelWithProjection(config).eval()
        width = pipeline.unet.config.cross_attention_dim
        weights = {"image_proj.proj.weight": torch.randn(4 * width, 24), "image_proj.proj.bias": torch.randn(4 * width)}
        weights |= {"image_proj.norm.weight": torch.ones(width), "image_proj.norm.bias": torch.zeros(width)}
        names = [name.removesuffix(".processor") for name in pipeline.unet.attn_processors if "attn2" in name]
        for n, name in enumerate(names):
            inner = pipeline.unet.get_submodule(name).to_k.out_features
            weights |= {f"ip_adapter.{2 * n + 1}.to_{k}_ip.weight": torch.randn(inner, width) for k in "kv"}
    encoder.save_pretrained(folder / "image_encoder")
    save_file(weights, folder / "ip-adapter.safetensors")
    pipeline.register_modules(image_encoder=encoder, feature_extractor=transformers.CLIPImageProcessor())
    nested: dict[str, Any] = {"image_proj": {}, "ip_adapter": {}}
    for name, weight in weights.items():
        part, _, rest = name.partition(".")
        nested[part][rest] = weight
    return nested


@pytest.mark.parametrize(("family", "count"), [("sd15", 1), ("sdxl", 2)])
def test_image_prompts_give_diffusers_images(
    family: str, count: int, pipelines: Callable[[str], Path], tmp_path: Path, compare: Any
) -> None:
    """One image and two, with a weight, in both halves of guidance."""
    folder = copytree(pipelines(family), tmp_path / family)
    (folder / "tintype.json").write_text(json.dumps({"tintype": 1, "native_sizes": [list(SIZE)]}))
    pipeline = diffusers.DiffusionPipeline.from_pretrained(pipelines(family))
    weights = image_adapter(pipeline, folder / "image_adapters" / "style")
    made = {name: make(config) for name, (_, config) in graph_configs(folder).items()}
    config = json.loads((folder / "image_adapters" / "style" / "image_encoder" / "config.json").read_text())
    made["vision"] = make(GraphConfig(kind="clip_vision", fields=shaping("clip_vision", config)))
    write(tmp_path / "templates", made)
    files = [png(photo(*SIZE)), png(disc(70, 90).convert("RGB"))][:count]
    example = job(image_prompts=tuple(ImageFile(name="style", image=data, weight=0.7) for data in files))
    options = LoadingOptions(templates=tmp_path / "templates", cache=tmp_path / "cache")
    with LocalService([folder], options) as service:
        ours, plain = service.generate(example), service.generate(job())
    assert np.abs(ours - plain).max() * 255 > LEVELS
    pipeline.load_ip_adapter(weights, subfolder=None, weight_name=None, image_encoder_folder=None)
    pipeline.set_ip_adapter_scale(0.7)
    pipeline.set_progress_bar_config(disable=True)
    with quiet(), torch.no_grad():
        theirs = pipeline(
            example.prompt,
            negative_prompt=example.negative_prompt,
            ip_adapter_image=[[Image.open(BytesIO(data)) for data in files]],
            num_inference_steps=example.steps,
            guidance_scale=example.guidance_scale,
            width=SIZE[0],
            height=SIZE[1],
            generator=torch.Generator("cpu").manual_seed(7),
            output_type="np",
        ).images
    compare(ours, np.moveaxis(theirs, -1, 1))


@pytest.mark.parametrize(("family", "skip"), [("sd15", 1), ("sd15", 2), ("sdxl", 1)])
def test_clip_skip_gives_diffusers_image(family: str, skip: int, controlled: Controlled, compare: Any) -> None:
    """The last layers of CLIP are left out, of both prompts; diffusers leaves them in for the negative one."""
    example = job(clip_skip=skip)
    ours = controlled.service(family).generate(example)
    assert np.abs(ours - controlled.service(family).generate(job())).max() * 255 > LEVELS
    pipeline = controlled.pipeline(family)
    pipeline.set_progress_bar_config(disable=True)
    if family == "sd15":  # diffusers 0.42 looks for the part that transformers 5 no longer has
        pipeline.text_encoder.__dict__["text_model"] = pipeline.text_encoder
    settings = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False, "clip_skip": skip}
    names = ("prompt_embeds", "", "pooled_prompt_embeds")
    with quiet(), torch.no_grad():
        encoded = {
            f"{half}{name}": value
            for half, text in (("", example.prompt), ("negative_", example.negative_prompt))
            for name, value in zip(names, pipeline.encode_prompt(prompt=text, **settings), strict=False)
            if name
        }
        theirs = pipeline(
            **encoded,
            num_inference_steps=example.steps,
            guidance_scale=example.guidance_scale,
            width=SIZE[0],
            height=SIZE[1],
            generator=torch.Generator("cpu").manual_seed(7),
            output_type="np",
        ).images
    compare(ours, np.moveaxis(theirs, -1, 1))


def test_too_many_skipped_layers_are_refused(controlled: Controlled) -> None:
    """The error says how many layers the model has before the last."""
    with pytest.raises(InvalidField, match="clip_skip: cannot be 9 with this model: at most 3"):
        controlled.service("sd15").generate(job(clip_skip=9))
