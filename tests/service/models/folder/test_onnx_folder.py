"""A folder of ONNX graphs without some of its files is read by its graphs; the log names what was derived."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tintype.service.errors import ModelBroken
from tintype.service.models.families.table import by_pipeline
from tintype.service.models.folder.reader import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Edit: TypeAlias = "Callable[[Path, Callable[[dict[str, Any]], object]], None]"

CONFIGS = ("unet/config.json", "vae_decoder/config.json", "text_encoder/config.json")
INDEX, SCHEDULER = "model_index.json", "scheduler/scheduler_config.json"


TINTYPE = "tintype.json"
FILE, GRAPH, FAMILY = "file", "graph", "family"
ANSWERS = (INDEX, SCHEDULER, *CONFIGS)
# Kind of folder -> the files that it lacks, and the source of each answer, in the order of ANSWERS.
KINDS = {
    "ours": ((), (FILE, FILE, FILE, FILE, FILE)),
    "optimum's": ((TINTYPE,), (FILE, FILE, FILE, FILE, FILE)),
    "legacy, and Olive's": ((TINTYPE, *CONFIGS), (FILE, FILE, GRAPH, GRAPH, GRAPH)),
    "graphs and a scheduler": ((TINTYPE, INDEX, *CONFIGS), (GRAPH, FILE, GRAPH, GRAPH, GRAPH)),
    "graphs alone": ((TINTYPE, INDEX, SCHEDULER, *CONFIGS), (GRAPH, FAMILY, GRAPH, GRAPH, GRAPH)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_of_each_answer(folder: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """A file is read if there is one; otherwise the log says that a graph or the family answers."""
    missing, expected = KINDS[kind]
    remove(folder, *missing)
    with caplog.at_level(logging.INFO, "tintype.service"):
        assert read_manifest(folder).family.name == "sd"
    found = dict.fromkeys(ANSWERS, FILE)
    for message in caplog.messages:
        path, _, answer = message.removeprefix("toy: ").partition(" is missing; ")
        found[path] = FAMILY if answer.startswith("using what is usual for sd") else GRAPH
    assert len(caplog.messages) == len(ANSWERS) - expected.count(FILE)
    assert tuple(found[path] for path in ANSWERS) == expected


def remove(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).unlink()


def test_configurations_are_derived_from_graphs(foreign: Path, edit: Edit) -> None:
    """Without configurations of components, only what graphs do not state is the family's."""
    edit(foreign / INDEX, lambda c: c.update(_class_name="OnnxStableDiffusionPipeline"))
    before = read_manifest(foreign)
    remove(foreign, *CONFIGS)
    after = read_manifest(foreign)
    assert after.spec.latent_channels == before.spec.latent_channels == 16
    assert after.config.vocabularies == before.config.vocabularies != (0,)
    assert after.config.lengths == before.config.lengths
    assert after.spec.capabilities == before.spec.capabilities
    assert after.spec.native_sizes == ((512, 512),)
    # The built-in decoder enlarges by rearranging channels as well, which is not seen in its graph.
    assert (after.spec.downscale, after.spec.size_multiple) == (8, 32)


def test_what_is_derived_is_logged(foreign: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line for each missing file names it and the values, once."""
    remove(foreign, *CONFIGS)
    with caplog.at_level(logging.INFO, "tintype.service"):
        read_manifest(foreign)
    values = {
        "unet": "in_channels 16, down_block_types 3, cross_attention_dim 128",
        "vae_decoder": "latent_channels 16",
        "text_encoder": "vocab_size 1417, max_position_embeddings 32",
    }
    lines = [f"toy: {name}/config.json is missing; {name}/model.onnx gives {given}" for name, given in values.items()]
    assert [message for message in caplog.messages if "missing" in message] == lines


def test_a_file_wins_over_the_graph_and_tintype_json_over_both(foreign: Path, edit: Edit) -> None:
    """What a graph states is used only where no file states it."""
    remove(foreign, "unet/config.json", "text_encoder/config.json")
    edit(foreign / "vae_decoder/config.json", lambda c: c.update(scaling_factor=0.5))
    assert read_manifest(foreign).config.scaling_factor == 0.5
    remove(foreign, "vae_decoder/config.json")
    assert read_manifest(foreign).config.scaling_factor == 0.18215
    (foreign / "tintype.json").write_text('{"tintype": 1, "scaling_factor": 0.25, "native_sizes": [[128, 128]]}')
    manifest = read_manifest(foreign)
    assert manifest.config.scaling_factor == 0.25
    assert manifest.spec.native_sizes == ((128, 128),)


def test_the_family_is_read_from_the_graphs(foreign: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Graphs and a tokenizer are enough for a model."""
    before = read_manifest(foreign).spec
    remove(foreign, INDEX, SCHEDULER, *CONFIGS)
    with caplog.at_level(logging.INFO, "tintype.service"):
        spec = read_manifest(foreign).spec
    assert spec.family == "sd"
    assert spec.capabilities == before.capabilities
    assert spec.latent_channels == before.latent_channels
    assert spec.defaults.sampler == "plms"
    assert "toy: model_index.json is missing; the graphs are those of StableDiffusionPipeline" in caplog.messages
    assert any(SCHEDULER in message and "prediction_type epsilon" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("scheduler", "sampler"), [(None, "plms"), (["diffusers", "DDIMScheduler"], "ddim"), ([None, None], "plms")]
)
def test_the_index_names_the_class_of_a_missing_scheduler(
    foreign: Path, edit: Edit, scheduler: list[str] | None, sampler: str
) -> None:
    """The numbers are the family's, the sampler is that of model_index.json."""
    edit(foreign / INDEX, lambda c: c.update(scheduler=scheduler))
    remove(foreign, SCHEDULER)
    assert read_manifest(foreign).spec.defaults.sampler == sampler


def test_an_unknown_scheduler_class_is_a_fault(foreign: Path, edit: Edit) -> None:
    """A class that is named and not supported is not replaced by another."""
    edit(foreign / INDEX, lambda c: c.update(scheduler=["diffusers", "OtherScheduler"]))
    remove(foreign, SCHEDULER)
    with pytest.raises(ModelBroken, match="OtherScheduler"):
        read_manifest(foreign)


def test_a_family_in_tintype_json_needs_no_index(foreign: Path) -> None:
    """tintype.json names the family where the graphs do not tell it."""
    remove(foreign, INDEX, SCHEDULER)
    (foreign / "tintype.json").write_text('{"tintype": 1, "family": "sd"}')
    assert read_manifest(foreign).spec.family == "sd"


def test_a_damaged_graph_without_a_configuration_is_named(foreign: Path) -> None:
    """A graph that cannot be read is a fault of the folder."""
    remove(foreign, "unet/config.json", "unet/model.onnx")
    (foreign / "unet/model.onnx").write_bytes(b"<html>")
    with pytest.raises(ModelBroken, match=r"unet/model\.onnx cannot be read: it is not an ONNX graph"):
        read_manifest(foreign)


def test_a_tokenizer_is_not_derived(foreign: Path) -> None:
    """A tokenizer's files and configuration are required."""
    remove(foreign, "tokenizer/tokenizer_config.json", *CONFIGS)
    with pytest.raises(ModelBroken, match=r"tokenizer/tokenizer_config\.json is missing"):
        read_manifest(foreign)


@pytest.mark.parametrize(
    ("class_name", "family"),
    [
        ("OnnxStableDiffusionPipeline", "sd"),
        ("OnnxStableDiffusionImg2ImgPipeline", "sd"),
        ("OnnxStableDiffusionInpaintPipeline", "sd"),
        ("OnnxStableDiffusionInpaintPipelineLegacy", "sd"),
        ("StableDiffusionOnnxPipeline", "sd"),
        ("ORTStableDiffusionXLPipeline", "sdxl"),
        ("OnnxStableDiffusionUpscalePipeline", ""),
        ("OnnxRuntimeModel", ""),
    ],
)
def test_legacy_classes(class_name: str, family: str) -> None:
    """The classes of diffusers' ONNX pipelines are those of the family; the upscaler is not supported."""
    found = by_pipeline(class_name)
    assert (found.name if found else "") == family
