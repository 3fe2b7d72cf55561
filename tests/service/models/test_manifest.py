"""A folder is read into values without loading it, or every fault in it is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tintype.service.errors import ModelBroken
from tintype.service.models.catalogue import BUILTIN
from tintype.service.models.configs import Configs
from tintype.service.models.entry import Entry
from tintype.service.models.families import FAMILIES
from tintype.service.models.manifest import read, verify
from tintype.service.models.spec import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, Guidance, LatentToRgb, Preset
from tintype.service.numerics import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHANNELS = read(BUILTIN).spec.latent_channels
EULER = '{{"_class_name": "EulerDiscreteScheduler", {}}}'
Edit = "Callable[[Path, Callable[[dict[str, Any]], object]], None]"


def test_the_built_in_model_is_served_as_its_manifest_says() -> None:
    """The folder inside the package is whole, and its manifest's words arrive."""
    own = json.loads((BUILTIN / "tintype.json").read_text())
    manifest = read(BUILTIN)
    spec = manifest.spec
    assert spec.name == own["name"]
    assert spec.family == "sd"
    assert spec.native_sizes == tuple(map(tuple, own["native_sizes"]))
    assert (spec.defaults.width, spec.defaults.height) == spec.native_sizes[0]
    assert spec.defaults.steps == own["defaults"]["steps"]
    assert spec.max_tokens == own["max_tokens"]
    assert spec.batched_timestep is True
    assert spec.latent_to_rgb is not None
    assert spec.weights_bytes > 10**6
    assert spec.created is not None
    assert verify(BUILTIN) == []


def test_a_folder_without_manifest_is_deduced(foreign: Path, edit: Edit) -> None:
    """What plain optimum leaves behind is enough: sizes, factors and defaults come from the configurations."""
    edit(foreign / "model_index.json", lambda c: c.update(_class_name="StableDiffusionPipeline"))
    edit(foreign / "vae_decoder/config.json", lambda c: c.update(scaling_factor=0.5, shift_factor=0.25))
    manifest, built_in = read(foreign), read(BUILTIN)
    spec = manifest.spec
    assert spec.name == "toy"
    assert spec.diffusion.prediction is Prediction.V
    assert spec.native_sizes == built_in.spec.native_sizes
    assert spec.size_multiple == built_in.spec.size_multiple
    assert spec.latent_channels == built_in.spec.latent_channels
    assert spec.downscale == built_in.spec.downscale
    assert spec.max_tokens == built_in.spec.max_tokens
    assert (manifest.traits.scaling_factor, manifest.traits.shift_factor) == (0.5, 0.25)
    assert spec.batched_timestep is False
    assert spec.latent_to_rgb is None
    assert (spec.defaults.steps, spec.defaults.guidance_scale) == (50, 7.5)


def test_pictures_need_an_encoder(foreign: Path) -> None:
    """A folder with vae_encoder starts from pictures and repaints; without it, text to image is left."""
    assert read(foreign).spec.capabilities == {TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING}
    (foreign / "vae_encoder" / "model.onnx").unlink()
    assert read(foreign).spec.capabilities == {TEXT_TO_IMAGE}


def test_an_inpainting_model_is_known_by_its_channels(foreign: Path, edit: Edit) -> None:
    """A denoiser that takes a mask and a masked picture repaints, does nothing else, and needs the image encoder."""
    edit(foreign / "unet/config.json", lambda c: c.update(in_channels=2 * CHANNELS + 1))
    spec = read(foreign).spec
    assert spec.inpaints is True
    assert spec.capabilities == {INPAINTING}
    (foreign / "vae_encoder" / "model.onnx").unlink()
    with pytest.raises(ModelBroken, match=r"vae_encoder/model\.onnx is missing, without which nothing is repainted"):
        read(foreign)


@pytest.mark.parametrize("said", [{"time_cond_proj_dim": 256}, {"guidance_embeds": True}])
def test_a_scale_as_an_input_is_known_by_the_configuration(foreign: Path, edit: Edit, said: dict[str, Any]) -> None:
    """A denoiser that takes the scale of guidance needs no second call; the manifest may differ."""
    assert read(foreign).spec.guidance is Guidance.CLASSIFIER_FREE
    edit(foreign / "unet/config.json", lambda c: c.update(said))
    assert read(foreign).spec.guidance is Guidance.EMBEDDED
    (foreign / "tintype.json").write_text('{"tintype": 1, "guidance": "none"}')
    assert read(foreign).spec.guidance is Guidance.NONE


def test_the_index_tells_what_the_graphs_do_not(foreign: Path, edit: Edit) -> None:
    """What diffusers keeps in model_index.json arrives where loading finds it."""
    assert (read(foreign).traits.zero_negative, read(foreign).traits.scored) == (False, False)
    said = {"force_zeros_for_empty_prompt": True, "requires_aesthetics_score": True}
    edit(foreign / "model_index.json", lambda c: c.update(said))
    assert (read(foreign).traits.zero_negative, read(foreign).traits.scored) == (True, True)


@pytest.mark.parametrize(("family", "zero"), [("sd", False), ("sdxl", True), ("sdxl_refiner", True), ("sd3", False)])
def test_a_silent_index_means_what_diffusers_pipelines_take(family: str, zero: bool) -> None:  # noqa: FBT001
    """SDXL's take zeros for an empty negative prompt unless they are told not to."""
    silent = [{} for _ in FAMILIES[family].text]
    assert Configs({}, {}, {}, {}, silent, silent).traits(FAMILIES[family]).zero_negative is zero
    index = {"force_zeros_for_empty_prompt": False}
    assert Configs({}, index, {}, {}, silent, silent).traits(FAMILIES[family]).zero_negative is False


def test_the_family_fills_what_configurations_leave_out(foreign: Path) -> None:
    """Old folders say little; then Stable Diffusion's numbers hold."""
    for part in ("unet", "vae_decoder", "text_encoder"):
        (foreign / part / "config.json").write_text("{}")
    (foreign / "tokenizer/tokenizer_config.json").write_text("{}")
    manifest = read(foreign)
    spec = manifest.spec
    assert (spec.latent_channels, spec.downscale, spec.size_multiple) == (4, 8, 8)
    assert spec.native_sizes == ((512, 512),)
    assert (spec.max_tokens, manifest.traits.scaling_factor) == (77, 0.18215)


def test_the_manifest_wins_over_configurations(folder: Path, edit: Edit) -> None:
    """What tintype.json says counts, also where a component says otherwise."""
    new = {
        "prediction": "epsilon",
        "native_sizes": [[128, 64], [64, 64]],
        "scaling_factor": 2,
        "defaults": {"steps": 3, "guidance_scale": 1, "sampler": "dpmpp_2m", "schedule": "karras"},
        "qualities": {"hd": {"steps": 30}, "low": None},
        "styles": {"vivid": {"template": "{prompt}, vivid", "negative_prompt": "grey"}},
        "some_future_key": [1, 2],
    }
    edit(folder / "tintype.json", lambda c: c.update(new))
    edit(folder / "scheduler/scheduler_config.json", lambda c: c.update(rescale_betas_zero_snr=False))
    manifest = read(folder)
    spec = manifest.spec
    assert spec.diffusion.prediction is Prediction.EPSILON
    assert spec.native_sizes == ((128, 64), (64, 64))
    assert (spec.defaults.width, spec.defaults.height) == (128, 64)
    assert (spec.defaults.sampler, spec.defaults.schedule, spec.defaults.steps) == ("dpmpp_2m", "karras", 3)
    assert manifest.traits.scaling_factor == 2.0
    assert spec.qualities["hd"] == Preset(steps=30)
    assert "low" not in spec.qualities
    assert spec.styles["vivid"] == Preset(template="{prompt}, vivid", negative_prompt="grey")


def test_a_manifest_may_say_that_there_are_no_presets(folder: Path, edit: Edit) -> None:
    """Null stands for none; without a word of it there are the house's, by the model's own defaults."""
    edit(folder / "tintype.json", lambda c: c.update(qualities=None, styles=None))
    assert (read(folder).spec.qualities, read(folder).spec.styles) == ({}, {})
    edit(folder / "tintype.json", lambda c: (c.pop("qualities"), c.pop("styles")))
    spec = read(folder).spec
    assert spec.qualities["hd"].steps == round(1.5 * spec.defaults.steps)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"tintype": 2}, "tintype.json: tintype must be 1, not 2"),
        ({"family": "sdxxl"}, "family must be one of sd, lcm, sdxl, .*, not 'sdxxl'"),
        ({"guidance": "some"}, "guidance must be one of classifier_free, embedded, none, not 'some'"),
        ({"prediction": "noise"}, "prediction must be one of epsilon, v, sample, flow, not 'noise'"),
        ({"prediction": ["v"]}, r"prediction must be one of epsilon, v, sample, flow, not \['v'\]"),
        ({"native_sizes": []}, r"native_sizes must be a list of \[width, height\]"),
        ({"native_sizes": [[100, 64]]}, "native size 100x64 must be a multiple of"),
        ({"size_multiple": 24}, "size_multiple 24 must be a multiple of downscale 16"),
        ({"max_tokens": 0}, "max_tokens must be a whole number, at least 1, not 0"),
        ({"scaling_factor": "1"}, "scaling_factor must be a number, not '1'"),
        ({"scaling_factor": 0}, "scaling_factor must not be 0: latents are divided by it"),
        ({"native_sizes": [[8192, 64]]}, "native_sizes must be 16 to 4096, not 8192"),
        ({"batched_timestep": 1}, "batched_timestep must be true or false, not 1"),
        ({"name": " "}, "name must not be empty"),
        ({"defaults": {"steps": -1}}, "defaults steps must be a whole number"),
        ({"defaults": {"steps": 500}}, "defaults steps must be 1 to 150, not 500"),
        ({"defaults": {"guidance_scale": -1}}, "defaults guidance_scale must be 0 to 50, not -1"),
        ({"defaults": {"guidance_rescale": 2}}, "defaults guidance_rescale must be 0 to 1, not 2"),
        ({"qualities": {"hd": {"steps": 500}}}, "qualities steps must be 1 to 150, not 500"),
        ({"defaults": {"sampler": "eulr"}}, "defaults: sampler 'eulr' is not known; did you mean 'euler'"),
        ({"preview": {"latent_to_rgb": [[1, 2]], "bias": [0, 0, 0]}}, "preview must hold three numbers"),
        (
            {"preview": {"latent_to_rgb": [[1, 2, 3]], "bias": [0, 0, 0]}},
            f"must have {CHANNELS} rows, one for each latent channel",
        ),
        ({"qualities": {"hd": {"step": 1}}}, "qualities has the unknown setting 'step'; known are steps,"),
        ({"styles": []}, r"styles must be an object, not \[\]"),
        ({"styles": {"old": {"template": "old"}}}, "styles template must hold {prompt} once"),
    ],
)
def test_a_wrong_manifest_is_told_by_its_key(folder: Path, edit: Edit, content: dict[str, Any], problem: str) -> None:
    """Each wrong value is named with its key, the value and what would be right."""
    edit(folder / "tintype.json", lambda c: c.update(content))
    with pytest.raises(ModelBroken, match=problem):
        read(folder)


def _missing(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def _written(path: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).write_text(text) and None


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (_missing("unet/model.onnx"), "unet/model.onnx is missing"),
        (_missing("tokenizer/merges.txt"), "tokenizer/merges.txt is missing"),
        (_missing("tokenizer/vocab.json"), "tokenizer/vocab.json is missing"),
        (_missing("scheduler/scheduler_config.json"), "scheduler/scheduler_config.json is missing"),
        (_missing("vae_decoder/config.json"), "vae_decoder/config.json is missing"),
        (_written("unet/config.json", "{"), "unet/config.json is not JSON"),
        (_written("vae_decoder/config.json", '{"latents_mean": [0.5]}'), "latents_mean must be null, not"),
        (_written("unet/config.json", '{"sample_size": "x"}'), "unet/config.json: sample_size must be a whole number"),
        (_written("unet/config.json", '{"in_channels": 8}'), "unet/config.json: in_channels takes 8 channels; served"),
        (_written("vae_decoder/config.json", "[]"), "vae_decoder/config.json must hold a JSON object, not list"),
        (_written("scheduler/scheduler_config.json", '{"_class_name": "X", "a": 1}'), "'X' is not supported"),
        (
            _written("scheduler/scheduler_config.json", EULER.format('"num_train_timesteps": 0')),
            "num_train_timesteps 0 must be a whole number, 1 or more",
        ),
        (
            _written("scheduler/scheduler_config.json", EULER.format('"trained_betas": []')),
            r"trained_betas \[\] must have a number for each step",
        ),
        (
            _written("scheduler/scheduler_config.json", "{}"),
            "_class_name 'None' is not supported",
        ),
        (
            _written("model_index.json", '{"_class_name": "FooPipeline"}'),
            "'FooPipeline' is not served here; served are",
        ),
        (_written("model_index.json", "{}"), "pipeline None is not served here"),
        (_written("model_index.json", "hello"), "toy/model_index.json is not JSON"),
    ],
)
def test_each_fault_of_a_folder_is_named(foreign: Path, harm: Callable[[Path], None], problem: str) -> None:
    """Whatever is missing or damaged is named by its file."""
    harm(foreign)
    with pytest.raises(ModelBroken, match=problem):
        read(foreign)


@pytest.mark.parametrize("said", [["transformers", "T5EncoderModel"], [None, None], None])
def test_an_optional_encoder_that_the_index_names_is_missed(foreign: Path, said: Any) -> None:
    """Half of a download would draw without it, and other pictures; who wants that says so in the index."""
    index = {"_class_name": "StableDiffusion3Pipeline", "text_encoder_3": said}
    (foreign / "model_index.json").write_text(json.dumps({key: value for key, value in index.items() if value}))
    with pytest.raises(ModelBroken) as caught:
        read(foreign)
    fault = "text_encoder_3/model.onnx is missing; the index of a model without it says [null, null] of it"
    assert (fault in caught.value.faults) == (said is not None and None not in said)


@pytest.mark.parametrize(
    ("precision", "target", "times"),
    [("fp32", "cpu", 1), ("fp16", "cpu", 2), ("fp16", "gpu", 1), ("int8", "cpu", 1), ("fp16-weights", None, 2)],
)
def test_weights_that_are_widened_count_as_they_are_in_memory(
    folder: Path, edit: Edit, precision: str, target: str | None, times: int
) -> None:
    """Stored in half the bytes, and computed in float32: the budget of memory is of what is in it."""
    said = {"precision": precision, "target": target} if target else {"precision": precision}
    edit(folder / "tintype.json", lambda c: c.update(said))
    manifest = read(folder)
    assert Entry("toy", manifest).weight == times * manifest.spec.weights_bytes


def test_a_class_is_enough(foreign: Path) -> None:
    """A sampler's file may leave everything but its class to the defaults of the class."""
    (foreign / "scheduler/scheduler_config.json").write_text('{"_class_name": "EulerDiscreteScheduler"}')
    assert read(foreign).spec.defaults.sampler == "euler"


def test_all_faults_come_at_once(foreign: Path) -> None:
    """Whoever repairs a folder hears of everything in one go."""
    for path in ("unet/model.onnx", "vae_decoder/model.onnx", "tokenizer/merges.txt"):
        (foreign / path).unlink()
    (foreign / "scheduler/scheduler_config.json").write_text("{")
    with pytest.raises(ModelBroken) as caught:
        read(foreign)
    assert len(caught.value.faults) == 4


def test_a_folder_for_torch_is_recognised(foreign: Path) -> None:
    """A pipeline that was never exported is told so, not file by file."""
    for graph in foreign.glob("*/model.onnx"):
        graph.rename(graph.with_name("model.safetensors"))
    (foreign / "vae_decoder").rename(foreign / "vae")
    with pytest.raises(ModelBroken, match="export it first, by `tintype export`") as caught:
        read(foreign)
    assert len(caught.value.faults) == 1


def test_no_folder_and_no_model_take_one_line(tmp_path: Path) -> None:
    """A wrong path is said in one clear line."""
    with pytest.raises(ModelBroken, match=r"there is no folder .*nowhere") as caught:
        read(tmp_path / "nowhere")
    assert len(caught.value.faults) == 1
    with pytest.raises(ModelBroken, match=r"holds neither model_index\.json nor tintype\.json"):
        read(tmp_path)


def test_verify_finds_what_changed(folder: Path, edit: Edit) -> None:
    """A file that is not the exported one is named; a folder without sums says that nothing can be compared."""
    assert verify(folder) == []
    (folder / "tokenizer/merges.txt").write_text("a b\n")
    assert verify(folder) == ["tokenizer/merges.txt is not the file that was exported"]
    edit(folder / "tintype.json", lambda c: c.pop("files"))
    assert verify(folder) == ["tintype.json names no sums to compare with"]
    (folder / "unet/model.onnx").unlink()
    assert verify(folder) == ["unet/model.onnx is missing"]


def test_weights_beside_the_graph_are_counted(folder: Path) -> None:
    """External data counts as weights, a configuration does not."""
    before = read(folder)
    (folder / "unet/model.onnx_data").write_bytes(b"x" * 1000)
    (folder / "unet/more.json").write_text("{}")
    after = read(folder)
    assert after.spec.weights_bytes == before.spec.weights_bytes + 1000
    assert after.weight("unet") == BUILTIN.joinpath("unet/model.onnx").stat().st_size + 1000


def test_a_decoder_in_float32_counts(folder: Path) -> None:
    """It comes into memory when a picture overflows, beside all else that is there."""
    before = read(folder)
    (folder / "vae_decoder_fp32").mkdir()
    (folder / "vae_decoder_fp32/model.onnx").write_bytes(b"x" * 1000)
    assert read(folder).spec.weights_bytes == before.spec.weights_bytes + 1000


def test_the_preview_is_read(folder: Path, edit: Edit) -> None:
    """The linear map arrives as the manifest has it."""
    rows = [[i, i + 1, i + 2] for i in range(CHANNELS)]
    edit(folder / "tintype.json", lambda c: c.update(preview={"latent_to_rgb": rows, "bias": [0.5, 0.25, 0]}))
    assert read(folder).spec.latent_to_rgb == LatentToRgb(tuple(map(tuple, rows)), (0.5, 0.25, 0.0))
