"""A folder is read into values without loading it; errors name every fault."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tintype.service.errors import ModelBroken
from tintype.service.models.folder import reader
from tintype.service.models.folder.reader import read_manifest, verify
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.residency.slot import Slot
from tintype.service.models.spec import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, ReferenceFit, ReferenceRule
from tintype.service.models.templates.filling import ADVICE
from tintype.service.numerics import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EULER = '{{"_class_name": "EulerDiscreteScheduler", {}}}'
Edit: TypeAlias = "Callable[[Path, Callable[[dict[str, Any]], object]], None]"


def test_the_built_in_model_is_read() -> None:
    """The folder inside the package is complete, and the spec has the values of its tintype.json."""
    own = json.loads((BUILTIN / "tintype.json").read_text())
    manifest = read_manifest(BUILTIN)
    spec = manifest.spec
    assert spec.name == own["name"]
    assert spec.family == "sd"
    assert spec.native_sizes == tuple(map(tuple, own["native_sizes"]))
    assert (spec.defaults.width, spec.defaults.height) == spec.native_sizes[0]
    assert spec.defaults.steps == own["defaults"]["steps"]
    assert spec.max_tokens == own["max_tokens"]
    assert spec.batched_timestep is True
    assert spec.clip_layer == 0
    assert spec.latent_to_rgb is not None
    assert spec.weights_bytes > 10**6
    assert spec.created is not None
    assert verify(BUILTIN) == []


def test_a_folder_without_tintype_json_is_read(foreign: Path, edit: Edit) -> None:
    """A folder of plain optimum is enough: sizes, factors and defaults come from the configurations."""
    edit(foreign / "model_index.json", lambda c: c.update(_class_name="StableDiffusionPipeline"))
    edit(foreign / "vae_decoder/config.json", lambda c: c.update(scaling_factor=0.5, shift_factor=0.25))
    manifest, built_in = read_manifest(foreign), read_manifest(BUILTIN)
    spec = manifest.spec
    assert spec.name == "toy"
    assert spec.diffusion.prediction is Prediction.V
    assert spec.native_sizes == built_in.spec.native_sizes
    assert spec.size_multiple == built_in.spec.size_multiple
    assert spec.latent_channels == built_in.spec.latent_channels
    assert spec.downscale == built_in.spec.downscale
    assert spec.max_tokens == built_in.spec.max_tokens
    assert (manifest.config.scaling_factor, manifest.config.shift_factor) == (0.5, 0.25)
    assert spec.batched_timestep is False
    assert spec.clip_layer == 1
    assert spec.latent_to_rgb is None
    assert (spec.defaults.steps, spec.defaults.guidance_scale) == (50, 7.5)


@pytest.mark.parametrize(
    ("name", "config", "fast"),
    [
        ("CLIPTokenizer", {}, False),
        ("CLIPTokenizerFast", {}, True),
        ("CLIPTokenizer", {"backend": "tokenizers"}, True),
    ],
)
def test_fast_tokenizers_are_recognized(foreign: Path, name: str, config: dict[str, Any], *, fast: bool) -> None:
    """By the name of their class, or by the mark of transformers 5, whose names tell nothing."""
    index = {"_class_name": "StableDiffusionPipeline", "tokenizer": ["transformers", name]}
    (foreign / "model_index.json").write_text(json.dumps(index))
    (foreign / "tokenizer/tokenizer_config.json").write_text(json.dumps(config))
    assert read_manifest(foreign).config.fast_tokenizers == (fast,)


def test_image_tasks_require_the_encoder(foreign: Path) -> None:
    """Without vae_encoder, only text to image is left."""
    assert read_manifest(foreign).spec.capabilities == {TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING}
    (foreign / "vae_encoder" / "model.onnx").unlink()
    assert read_manifest(foreign).spec.capabilities == {TEXT_TO_IMAGE}


def test_a_model_that_only_edits_makes_no_images_from_text(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that requires references has all other capabilities."""
    rule = ReferenceRule(most=1, fit=ReferenceFit.QWEN, required=True)
    editor = replace(read_manifest(foreign).family, references=rule)
    monkeypatch.setattr(reader, "by_pipeline", lambda *_: editor)
    assert read_manifest(foreign).spec.capabilities == {IMAGE_TO_IMAGE, INPAINTING}


def _missing(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def _written(path: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / path).write_text(text)

    return write


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (_missing("unet/model.onnx"), "unet/model.onnx is missing"),
        (_missing("tokenizer/merges.txt"), "tokenizer/merges.txt is missing"),
        (_missing("tokenizer/vocab.json"), "tokenizer/vocab.json is missing"),
        (_written("unet/config.json", "{"), "unet/config.json is not JSON"),
        (
            _written("vae_decoder/config.json", '{"latents_mean": [0.5]}'),
            "latents_mean and latents_std must have 4 numbers each",
        ),
        (_written("unet/config.json", '{"sample_size": "x"}'), "unet/config.json: sample_size must be a whole number"),
        (
            _written("unet/config.json", '{"in_channels": 8}'),
            r"unet/config.json: in_channels must be \d+, or \d+ with a mask, not 8",
        ),
        (_written("vae_decoder/config.json", "[]"), "vae_decoder/config.json must hold a JSON object, not list"),
        (_written("scheduler/scheduler_config.json", '{"_class_name": "X", "a": 1}'), "'X' is not supported"),
        (
            _written("scheduler/scheduler_config.json", EULER.format('"num_train_timesteps": 0')),
            "num_train_timesteps 0 must be an integer of at least 1",
        ),
        (
            _written("scheduler/scheduler_config.json", EULER.format('"trained_betas": []')),
            r"trained_betas \[\] must have one number per training step",
        ),
        (
            _written("scheduler/scheduler_config.json", "{}"),
            "_class_name 'None' is not supported",
        ),
        (
            _written("model_index.json", '{"_class_name": "FooPipeline"}'),
            "'FooPipeline' is not supported; supported are",
        ),
        (_written("model_index.json", "{}"), "pipeline None is not supported"),
        (_written("model_index.json", "hello"), "toy/model_index.json is not JSON"),
    ],
)
def test_each_fault_is_named(foreign: Path, harm: Callable[[Path], None], problem: str) -> None:
    """The error for a missing or damaged file names the file."""
    harm(foreign)
    with pytest.raises(ModelBroken, match=problem):
        read_manifest(foreign)


@pytest.mark.parametrize("component", [["transformers", "T5EncoderModel"], [None, None], None])
def test_optional_encoders_in_the_index_are_required(foreign: Path, component: Any) -> None:
    """Without an encoder that model_index.json names, images would be different."""
    index = {"_class_name": "StableDiffusion3Pipeline", "text_encoder_3": component}
    (foreign / "model_index.json").write_text(json.dumps({key: value for key, value in index.items() if value}))
    with pytest.raises(ModelBroken) as caught:
        read_manifest(foreign)
    fault = (
        "text_encoder_3/model.onnx is missing; for a model without it, model_index.json must hold [null, null] for it"
    )
    assert (fault in caught.value.faults) == (component is not None and None not in component)


@pytest.mark.parametrize(
    ("precision", "target", "times"),
    [
        ("fp32", "cpu", 1),
        ("fp16", "cpu", 2),
        ("fp16", "gpu", 1),
        ("int8", "cpu", 2),
        ("int8", "gpu", 1),
        ("fp16-weights", None, 2),
    ],
)
def test_widened_weights_count_as_in_memory(
    folder: Path, edit: Edit, precision: str, target: str | None, times: int
) -> None:
    """Weights that take twice their bytes in memory are counted so; the budget is of memory."""
    fields = {"precision": precision, "target": target} if target else {"precision": precision}
    edit(folder / "tintype.json", lambda c: c.update(fields))
    manifest = read_manifest(folder)
    assert Slot("toy", manifest).weight == times * manifest.spec.weights_bytes


def test_a_scheduler_class_is_enough(foreign: Path) -> None:
    """scheduler_config.json may hold only its class; the class has defaults."""
    (foreign / "scheduler/scheduler_config.json").write_text('{"_class_name": "EulerDiscreteScheduler"}')
    assert read_manifest(foreign).spec.defaults.sampler == "euler"


def test_all_faults_are_reported_together(foreign: Path) -> None:
    """One error lists everything that must be repaired."""
    for path in ("unet/model.onnx", "vae_decoder/model.onnx", "tokenizer/merges.txt"):
        (foreign / path).unlink()
    (foreign / "scheduler/scheduler_config.json").write_text("{")
    with pytest.raises(ModelBroken) as caught:
        read_manifest(foreign)
    assert len(caught.value.faults) == 4


def test_components_without_a_template_are_named(foreign: Path) -> None:
    """A folder of weights whose classes have no template gets one message, which says once what to do."""
    for graph in foreign.glob("*/model.onnx"):
        graph.rename(graph.with_name("model.safetensors"))
    (foreign / "vae_decoder").rename(foreign / "vae")
    with pytest.raises(ModelBroken, match=r"unet is a .*, which has no template; ") as caught:
        read_manifest(foreign)
    assert str(caught.value).count("tintype export") == 1
    assert str(caught.value).endswith("; " + ADVICE)


def test_wrong_paths_take_one_line(tmp_path: Path) -> None:
    """A path without a folder, or without a model, gets one message."""
    with pytest.raises(ModelBroken, match=r"there is no folder or file .*nowhere") as caught:
        read_manifest(tmp_path / "nowhere")
    assert len(caught.value.faults) == 1
    with pytest.raises(
        ModelBroken,
        match=r"holds neither model_index\.json nor unet/model\.onnx or transformer/model\.onnx nor a \.safetensors",
    ):
        read_manifest(tmp_path)


def test_verify_finds_changed_files(folder: Path, edit: Edit) -> None:
    """Changed files are named; a folder without sums gets a message."""
    assert verify(folder) == []
    (folder / "tokenizer/merges.txt").write_text("a b\n")
    assert verify(folder) == ["tokenizer/merges.txt is not the exported file"]
    edit(folder / "tintype.json", lambda c: c.pop("files"))
    assert verify(folder) == ["tintype.json lists no sums to compare with"]
    (folder / "unet/model.onnx").unlink()
    assert verify(folder) == ["unet/model.onnx is missing"]


def test_a_loop_of_links_is_named(tmp_path: Path) -> None:
    """Links that lead to each other are no folder; the model has the link's name."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ModelBroken, match=r"model 'loop' can't be served: there is no folder or file .*/loop"):
        read_manifest(tmp_path / "loop")


def test_a_folder_without_rights_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that may not be entered breaks its own model, not the service."""

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.stat", refuse)
    with pytest.raises(ModelBroken, match=r"model 'mine' can't be served: .*/mine cannot be read: Permission denied"):
        read_manifest(tmp_path / "mine")


def test_external_data_is_counted(folder: Path) -> None:
    """External data counts as weights, a configuration does not."""
    before = read_manifest(folder)
    (folder / "unet/model.onnx_data").write_bytes(b"x" * 1000)
    (folder / "unet/more.json").write_text("{}")
    after = read_manifest(folder)
    assert after.spec.weights_bytes == before.spec.weights_bytes + 1000
    on_disk = BUILTIN.joinpath("unet/model.onnx").stat().st_size + 1000
    assert after.graphs["unet"].weights_bytes == 2 * on_disk  # float16 on disk, float32 in memory


def test_a_float32_decoder_is_counted(folder: Path) -> None:
    """It is loaded when an image overflows, in addition to the other graphs."""
    before = read_manifest(folder)
    (folder / "vae_decoder_fp32").mkdir()
    (folder / "vae_decoder_fp32/model.onnx").write_bytes(b"x" * 1000)
    assert read_manifest(folder).spec.weights_bytes == before.spec.weights_bytes + 1000
