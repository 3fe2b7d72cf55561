"""A single file as a model: what it has, what comes from elsewhere, and what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.models import header_shapes as shapes
from tintype.service.errors import ModelBroken
from tintype.service.models.checkpoint.elsewhere import TOKENIZERS
from tintype.service.models.checkpoint.layout import CheckpointLayout
from tintype.service.models.families.table import FAMILIES, by_pipeline
from tintype.service.models.files import ModelFileError
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.loading_options import LoadingOptions
from tintype.service.models.templates import filling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tintype.service.models.family import Family

T5 = {"architectures": ["T5EncoderModel"], "d_model": 4096}
CLIP = {"architectures": ["CLIPTextModel"], "hidden_size": 768}


@pytest.fixture
def options(tmp_path: Path) -> LoadingOptions:
    return LoadingOptions(cache=tmp_path / "cache")


def write(folder: Path, name: str, shape: str = "") -> Path:
    return shapes.write_file(folder / f"{name}.safetensors", shapes.FILES[shape or name])


def write_folder(folder: Path, **configs: Mapping[str, Any]) -> Path:
    """Write a folder in diffusers' layout, with components of these configurations."""
    for component, config in configs.items():
        (folder / component).mkdir(parents=True)
        (folder / component / "config.json").write_text(json.dumps(config))
        if "tokenizer" in component:
            (folder / component / "spiece.model").write_bytes(b"")
        else:
            shapes.write_file(folder / component / "model.safetensors", {"a": (1,)})
    return folder


def family_of(layout: CheckpointLayout) -> Family:
    index = layout.json("model_index.json")
    absent = [name for name, class_ in index.items() if class_ == [None, None]]
    family = by_pipeline(index["_class_name"], absent)
    assert family is not None
    return family


def missing(layout: CheckpointLayout) -> list[str]:
    return list(layout.missing(family_of(layout), {}, {}))


def filled(layout: CheckpointLayout, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """Return the kind, configuration and weights of each graph, without filling a template."""
    monkeypatch.setattr(filling, "fill_component", lambda *given, adapters: (*given, adapters))
    graphs: dict[str, Any] = layout.graphs(family_of(layout))
    assert all(component == given[0] for component, given in graphs.items())
    return {component: given[1:] for component, given in graphs.items()}


def test_complete_file(tmp_path: Path, options: LoadingOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Stable Diffusion file is a whole model: graphs, configurations and a tokenizer."""
    layout = CheckpointLayout(write(tmp_path, "sd1"), options)
    assert (layout.name, layout.folder) == ("sd1", tmp_path / "sd1")
    assert missing(layout) == []
    kinds = {component: given[0] for component, given in filled(layout, monkeypatch).items()}
    assert kinds == {
        "text_encoder": "clip",
        "unet": "unet",
        "vae_decoder": "kl_decoder",
        "vae_encoder": "kl_encoder",
    }
    assert layout.json("unet/config.json")["cross_attention_dim"] == 768
    assert layout.json("vae_decoder/config.json")["scaling_factor"] == 0.18215
    assert layout.json("tokenizer/tokenizer_config.json")["model_max_length"] == 77
    assert layout.tokenizer(FAMILIES["sd"].text_encoders[0]) == TOKENIZERS / "clip"
    assert not layout.has(FAMILIES["sd"], "vae_decoder_fp32")


@pytest.mark.parametrize(("path", "problem"), [("safety_checker/config.json", "safety_checker"), ("other", "other")])
def test_absent_configuration(tmp_path: Path, options: LoadingOptions, path: str, problem: str) -> None:
    """A configuration of something that the file lacks is missing, or empty if it is optional."""
    layout = CheckpointLayout(write(tmp_path, "sd1"), options)
    assert layout.json(path, optional=True) == {}
    with pytest.raises(ModelFileError, match=f"sd1.safetensors has no {problem}"):
        layout.json(path)


@pytest.mark.parametrize(
    ("name", "paddings"),
    [
        ("sd1", ["clip"]),
        ("sd2", ["clip_zero_padded"]),
        ("sdxl", ["clip", "clip_zero_padded"]),
        ("refiner", ["clip_zero_padded"]),
        ("sd3 with clips", ["clip", "clip_zero_padded"]),
    ],
)
def test_padding(tmp_path: Path, options: LoadingOptions, name: str, paddings: list[str]) -> None:
    """Each text encoder has the padding that it was trained with."""
    layout = CheckpointLayout(write(tmp_path, name), options)
    encoders = family_of(layout).text_encoders
    assert [layout.tokenizer(encoder).name for encoder in encoders][: len(paddings)] == paddings


def test_additions(tmp_path: Path, options: LoadingOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters are in the folder of the model's name below the additions; only then graphs have inputs for them."""
    options = replace(options, additions=tmp_path / "more")
    layout = CheckpointLayout(write(tmp_path, "sd1"), options)
    assert layout.folder == tmp_path / "more" / "sd1"
    assert not filled(layout, monkeypatch)["unet"][-1]
    (layout.folder / "loras").mkdir(parents=True)
    assert filled(layout, monkeypatch)["unet"][-1]


def test_prediction_of_the_owner(tmp_path: Path, options: LoadingOptions) -> None:
    """tintype.json overrides what a file is taken to predict."""
    path = write(tmp_path, "sd2")
    assert CheckpointLayout(path, options).json("scheduler/scheduler_config.json")["prediction_type"] == "v_prediction"
    (tmp_path / "sd2").mkdir()
    (tmp_path / "sd2" / "tintype.json").write_text('{"tintype": 1, "prediction": "epsilon"}')
    layout = CheckpointLayout(path, options)
    assert layout.json("scheduler/scheduler_config.json")["prediction_type"] == "epsilon"
    assert layout.json("unet/config.json")["sample_size"] == 64


def test_everything_missing(tmp_path: Path, options: LoadingOptions) -> None:
    """One message names all that a transformer alone lacks, and both settings."""
    (message,) = missing(CheckpointLayout(write(tmp_path, "flux"), options))
    assert "flux.safetensors has no text_encoder, text_encoder_2, vae_decoder: set --text-encoders" in message
    assert "--vae" in message


def test_a_folder_that_lacks_them_is_named(tmp_path: Path, options: LoadingOptions) -> None:
    """A setting that is given is not asked for without its folder and what that lacks."""
    (tmp_path / "empty").mkdir()
    options = replace(options, text_encoders=tmp_path / "empty")
    (message,) = missing(CheckpointLayout(write(tmp_path, "flux"), options))
    lack = "lacks text_encoder (CLIPTextModel), text_encoder_2 (T5EncoderModel); set --text-encoders to a model's"
    assert f": --text-encoders {tmp_path / 'empty'} {lack}" in message
    assert " and set --vae to" in message


def test_missing_parts_are_named_once(tmp_path: Path, options: LoadingOptions) -> None:
    """The reader repeats nothing of that message."""
    with pytest.raises(ModelBroken) as raised:
        read_manifest(write(tmp_path, "sdxl unet"), options)
    (message,) = raised.value.faults
    assert "has no text_encoder, text_encoder_2, vae_decoder: set --text-encoders to" in message


def test_from_other_folders(tmp_path: Path, options: LoadingOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text encoders and tokenizers come from one folder, the VAE from another one."""
    vae = {"_class_name": "AutoencoderTiny", "scaling_factor": 1.0}
    folder = write_folder(
        tmp_path / "schnell", text_encoder=CLIP, text_encoder_2=T5, tokenizer={}, tokenizer_2={}, vae=vae
    )
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    layout = CheckpointLayout(write(tmp_path, "flux"), replace(options, text_encoders=folder, vae=folder))
    assert missing(layout) == []
    graphs = filled(layout, monkeypatch)
    assert {component: given[0] for component, given in graphs.items()} == {
        "text_encoder": "clip",
        "text_encoder_2": "t5",
        "transformer": "flux",
        "vae_decoder": "tiny_decoder",
        "vae_encoder": "tiny_encoder",
    }
    assert graphs["text_encoder_2"][2].files == (folder / "text_encoder_2" / "model.safetensors",)
    assert [layout.tokenizer(encoder).name for encoder in family_of(layout).text_encoders] == [
        "tokenizer",
        "tokenizer_2",
    ]


def test_t5_of_another_family(tmp_path: Path, options: LoadingOptions) -> None:
    """A text encoder is found by its class, in a folder where it has another place."""
    folder = write_folder(tmp_path / "sd3", text_encoder_3=T5, tokenizer_3={})
    layout = CheckpointLayout(write(tmp_path, "flux whole"), replace(options, text_encoders=folder))
    assert missing(layout) == []
    first, second = (layout.tokenizer(encoder) for encoder in family_of(layout).text_encoders)
    assert (first, second) == (TOKENIZERS / "clip", folder / "tokenizer_3")


def test_t5_without_tokenizer(tmp_path: Path, options: LoadingOptions) -> None:
    """T5 needs its tokenizer from elsewhere, even if the file has its weights."""
    for name in ("flux whole", "sd3 whole"):
        (message,) = missing(CheckpointLayout(write(tmp_path, name), options))
        assert f"{name}.safetensors has no tokenizer_" in message
        assert "--vae" not in message


def test_stable_diffusion_3_without_t5(
    tmp_path: Path, options: LoadingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without T5 the model is served with its two CLIPs, the first with the identity as its projection."""
    layout = CheckpointLayout(write(tmp_path, "sd3 with clips"), options)
    assert missing(layout) == []
    assert layout.json("model_index.json")["text_encoder_3"] == [None, None]
    graphs = filled(layout, monkeypatch)
    assert {name: given[0] for name, given in graphs.items() if "text" in name} == {
        "text_encoder": "clip_projected",
        "text_encoder_2": "clip_projected",
    }
    assert [file.name for file in graphs["text_encoder"][2].files] == [
        "sd3 with clips.safetensors",
        "identity-768.safetensors",
    ]


@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
def test_vae_of_a_file(tmp_path: Path, options: LoadingOptions, prefix: str) -> None:
    """A VAE may come from a file of its own or from another model's; one without an encoder only decodes."""
    tensors = {name: shape for name, shape in shapes.vae().items() if not name.startswith("encoder")}
    file = shapes.write_file(tmp_path / "vae.safetensors", shapes.below(prefix, tensors))
    layout = CheckpointLayout(write(tmp_path, "sd1 unet"), replace(options, vae=file))
    assert layout.has(FAMILIES["sd"], "vae_decoder")
    assert not layout.has(FAMILIES["sd"], "vae_encoder")


def test_vae_in_diffusers_names(tmp_path: Path, options: LoadingOptions) -> None:
    """A VAE in diffusers' names has its configuration next to it, otherwise the message says so."""
    file = shapes.write_file(
        tmp_path / "vae.safetensors", {"decoder.conv_in.weight": (1, 1, 1, 1), "decoder.mid_block.a": (1,)}
    )
    with pytest.raises(ModelFileError, match=r"vae\.safetensors: it has no VAE in its original names.*config\.json"):
        CheckpointLayout(write(tmp_path, "sd1 unet"), replace(options, vae=file))
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL", "scaling_factor": 2.0}')
    layout = CheckpointLayout(write(tmp_path, "sd1 unet"), replace(options, vae=file))
    assert layout.json("vae_decoder/config.json")["scaling_factor"] == 2.0


@pytest.mark.parametrize("what", ["folder", "file"])
def test_no_vae(tmp_path: Path, options: LoadingOptions, what: str) -> None:
    """A folder or file without a VAE is named."""
    source = tmp_path / "empty" if what == "folder" else write(tmp_path, "flux")
    source.mkdir(exist_ok=True) if what == "folder" else None
    with pytest.raises(ModelFileError, match=f"{source.name}.*(not a VAE's folder|it has no VAE)"):
        CheckpointLayout(write(tmp_path, "sd1"), replace(options, vae=source))


def test_all_faults_together(tmp_path: Path, options: LoadingOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Components that fit no template are named together."""

    def refuse(component: str, *_: Any, adapters: bool) -> Any:
        raise ModelFileError(f"{component} does not fit {adapters}")

    monkeypatch.setattr(filling, "fill_component", refuse)
    layout = CheckpointLayout(write(tmp_path, "sd1"), options)
    with pytest.raises(ModelFileError, match=r"text_encoder .* fit False; unet .*; vae_decoder .*; vae_encoder"):
        layout.graphs(family_of(layout))
