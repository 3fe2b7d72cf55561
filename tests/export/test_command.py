"""What the command refuses, and how it says so. Nothing here needs torch: it is refused before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from tintype import export
from tintype.export import command
from tintype.export.errors import Refused
from tintype.export.source import find

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that everything is installed."""
    monkeypatch.setattr(command, "EXTRAS", ())


def pipeline_of(folder: Path, **index: object) -> Path:
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    code = export.main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1, "an error is one line"
    return error


def test_an_unsupported_pipeline_is_told_which_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who brings another pipeline learns its class and those that work."""
    source = pipeline_of(tmp_path, _class_name="KandinskyPipeline")
    error = refusal(capsys, source, tmp_path / "out")
    assert "'KandinskyPipeline'" in error
    assert "StableDiffusionPipeline" in error


@pytest.mark.parametrize("source", ["no such thing", "/nowhere/at/all", "a/b/c", ""])
def test_a_source_that_is_none_is_refused(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is neither a folder nor a hub id is named, and what would be right."""
    assert "neither a folder nor a hub id such as owner/name" in refusal(capsys, source, tmp_path / "out")


@pytest.mark.parametrize("missing", ["LocalEntryNotFoundError", "RepositoryNotFoundError"])
def test_a_path_with_a_slip_is_not_only_asked_of_the_hub(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`models/min` may be either: where the hub doesn't have it, the missing folder is said first."""
    error = getattr(pytest.importorskip("huggingface_hub.errors"), missing)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", Mock(side_effect=error.__new__(error)))
    with pytest.raises(Refused, match=r"^models/min is no folder here, and "):
        find("models/min")


@pytest.mark.parametrize("arguments", [[], ["a", "b", "--precision", "x"], ["a", "b", "--none"]])
def test_wrong_arguments_take_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As with every other command, and with the way to the help instead of all of it."""
    error = refusal(capsys, *arguments)
    assert error.startswith("tintype export: ")
    assert error.endswith("; see `tintype export --help`\n")


def test_a_folder_without_an_index_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that holds something else is told what is missing."""
    assert "has no model_index.json" in refusal(capsys, tmp_path, tmp_path / "out")


def test_a_broken_index_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged file is named, with what is wrong in it."""
    (tmp_path / "model_index.json").write_text("{")
    assert "model_index.json is not JSON" in refusal(capsys, tmp_path, tmp_path / "out")


def test_a_single_file_checkpoint_is_told_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Checkpoints in one file are common: the message says how to make a folder of one."""
    (tmp_path / "model.safetensors").touch()
    assert "from_single_file" in refusal(capsys, tmp_path / "model.safetensors", tmp_path / "out")


def test_onnx_is_not_exported_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with graphs can be served as it is, and the message says so."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.onnx").touch()
    source = pipeline_of(tmp_path, _class_name="StableDiffusionPipeline")
    assert "serves it as it is" in refusal(capsys, source, tmp_path / "out")


def test_what_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that holds anything is never written to unless --force says so."""
    (tmp_path / "precious").write_text("1")
    assert "--force" in refusal(capsys, "owner/name", tmp_path)
    assert (tmp_path / "precious").read_text() == "1"


def test_a_file_is_no_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OUT must be a folder, even with --force."""
    (tmp_path / "out").touch()
    assert "is a file" in refusal(capsys, "owner/name", tmp_path / "out", "--force")


def test_a_name_that_no_request_could_say_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names travel in URLs and headers: what they may hold is said."""
    source = pipeline_of(tmp_path, _class_name="StableDiffusionPipeline")
    assert "letters, digits" in refusal(capsys, source, tmp_path / "out", "--name", "a b")


def test_missing_extras_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without torch the command says what to install, not how it failed."""
    monkeypatch.setattr(command, "EXTRAS", ("json", "no_such_package"))
    error = refusal(capsys, "owner/name", tmp_path / "out")
    assert "no_such_package" in error
    assert "json" not in error
    assert "pip install '.[export]'" in error
