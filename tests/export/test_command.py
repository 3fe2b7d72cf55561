"""Refusals of `tintype export` and their messages; all happen before torch is imported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from tintype import export
from tintype.export import command
from tintype.export.console import format_bytes
from tintype.export.errors import ExportRefusal
from tintype.export.source import find_faults, find_source

if TYPE_CHECKING:
    from pathlib import Path

NET = "diffusion_pytorch_model"


@pytest.fixture(autouse=True)
def _required_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that everything is installed."""
    monkeypatch.setattr(command, "REQUIRED_PACKAGES", ())


def pipeline_of(folder: Path, **index: object) -> Path:
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    code = export.main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1, "an error is one line"
    return error


def test_an_unsupported_pipeline_is_named_with_the_supported_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message has the pipeline's class and the supported ones."""
    source = pipeline_of(tmp_path, _class_name="KandinskyPipeline")
    error = refusal(capsys, source, tmp_path / "out")
    assert "'KandinskyPipeline'" in error
    assert "StableDiffusionPipeline" in error


@pytest.mark.parametrize("source", ["no such thing", "/nowhere/at/all", "a/b/c", ""])
def test_an_invalid_source_is_refused(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A source that is neither a folder nor a hub id is named, with the valid forms."""
    assert "neither a folder nor a hub id such as owner/name" in refusal(capsys, source, tmp_path / "out")


@pytest.mark.parametrize("missing", ["LocalEntryNotFoundError", "RepositoryNotFoundError"])
def test_a_mistyped_path_is_reported_as_a_missing_folder(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`models/min` may be a folder or a hub id: if the hub does not have it, the message names the folder first."""
    error = getattr(pytest.importorskip("huggingface_hub.errors"), missing)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", Mock(side_effect=error.__new__(error)))
    with pytest.raises(ExportRefusal, match=r"^models/min is not a local folder, and "):
        find_source("models/min")


@pytest.mark.parametrize("arguments", [[], ["a", "b", "--precision", "x"], ["a", "b", "--none"]])
def test_wrong_arguments_take_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As for every other command, the message refers to --help and does not print it."""
    error = refusal(capsys, *arguments)
    assert error.startswith("tintype export: ")
    assert error.endswith("; see `tintype export --help`\n")


def test_a_folder_without_an_index_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the missing file."""
    assert "has no model_index.json" in refusal(capsys, tmp_path, tmp_path / "out")


def test_a_broken_index_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged file is named, with the error in it."""
    (tmp_path / "model_index.json").write_text("{")
    assert "model_index.json is not valid JSON" in refusal(capsys, tmp_path, tmp_path / "out")


def test_a_model_card_in_another_encoding_is_read(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 do not stop an export; the licence is still found."""
    for part in ("text_encoder", "tokenizer", "vae", "unet", "scheduler"):
        (tmp_path / part).mkdir()
    for path in ("text_encoder/config.json", "vae/config.json", "unet/config.json", "scheduler/scheduler_config.json"):
        (tmp_path / path).write_text("{}")
    for path in ("tokenizer/merges.txt", "text_encoder/pytorch_model.bin", f"vae/{NET}.bin", f"unet/{NET}.bin"):
        (tmp_path / path).touch()
    parts = {part: ["x", "X"] for part in ("text_encoder", "tokenizer", "vae", "unet", "scheduler")}
    pipeline_of(tmp_path, _class_name="StableDiffusionPipeline", **parts)
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\nauthor: Andr\xe9\n---\n")
    assert find_source(str(tmp_path)).license == "mit"


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": []}'])
def test_a_shard_index_without_shards_is_a_fault(text: str, tmp_path: Path) -> None:
    """The fault names the file and the missing key."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / f"{NET}.safetensors.index.json").write_text(text)
    assert f"unet/{NET}.safetensors.index.json has no table of shards (weight_map)" in find_faults(tmp_path / "unet")


@pytest.mark.parametrize(("size", "text"), [(999, "999 B"), (999_600, "1 MB"), (3_420_000_000, "3.42 GB")])
def test_sizes_have_three_digits_and_a_unit(size: int, text: str) -> None:
    """A size that would round to 1000 of a unit is 1 of the next."""
    assert format_bytes(size) == text


def test_a_single_file_checkpoint_gets_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Checkpoints in one file are common: the message says how to convert one to a folder."""
    (tmp_path / "model.safetensors").touch()
    assert "from_single_file" in refusal(capsys, tmp_path / "model.safetensors", tmp_path / "out")


def test_onnx_is_not_exported_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with graphs can be served as it is, and the message says so."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.onnx").touch()
    source = pipeline_of(tmp_path, _class_name="StableDiffusionPipeline")
    assert "serves it as it is" in refusal(capsys, source, tmp_path / "out")


def test_an_existing_folder_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not empty is not changed without --force."""
    (tmp_path / "precious").write_text("1")
    assert "--force" in refusal(capsys, "owner/name", tmp_path)
    assert (tmp_path / "precious").read_text() == "1"


def test_a_file_is_not_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OUT must be a folder, even with --force."""
    (tmp_path / "out").touch()
    assert "is a file" in refusal(capsys, "owner/name", tmp_path / "out", "--force")


def test_an_invalid_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names are used in URLs and headers: the message lists the valid characters."""
    source = pipeline_of(tmp_path, _class_name="StableDiffusionPipeline")
    assert "letters, digits" in refusal(capsys, source, tmp_path / "out", "--name", "a b")


def test_missing_extras_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without torch the command says what to install, without a traceback."""
    monkeypatch.setattr(command, "REQUIRED_PACKAGES", ("json", "no_such_package"))
    error = refusal(capsys, "owner/name", tmp_path / "out")
    assert "no_such_package" in error
    assert "json" not in error
    assert "pip install '.[export]'" in error


@pytest.mark.parametrize("flag", ["--no-image", "--no-picture"])
def test_no_picture_is_still_accepted_as_no_image(flag: str) -> None:
    """`--no-picture`, the former name of `--no-image`, still works, and `--help` does not show it."""
    parser = command.make_parser()
    assert parser.parse_args([flag, "source", "out"]).no_image
    assert not parser.parse_args(["source", "out"]).no_image
    assert "--no-image" in parser.format_help()
    assert "picture" not in parser.format_help()
