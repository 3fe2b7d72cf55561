"""The command that makes templates: what it writes, what it compares, and its exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tintype.export.templates import __main__ as command
from tintype.export.templates import configurations, making
from tintype.export.templates import pipelines as templates_of_pipelines
from tintype.export.templates.folder import compare, write
from tintype.export.templates.making import make
from tintype.export.templates.pipelines import graph_configs
from tintype.service.models.templates import catalogue
from tintype.service.models.templates.catalogue import INDEX, installed, read_index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tintype.export.templates.making import MadeTemplate

pytestmark = pytest.mark.torch

NAMES = ("taesd-encoder", "taesd-decoder")
HERE = ("--workers", "1")  # other processes would import torch again


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder to which the command writes in this test."""
    monkeypatch.setattr(catalogue, "DATA", tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def made() -> MadeTemplate:
    return make(configurations.published()["taesd-encoder"], making.NUMBERS[1:])


def test_committed_templates_are_the_published_ones() -> None:
    """Each configuration has its committed template, with this key, and there are no others."""
    committed = {template.name: (template.kind, template.config) for template in installed()}
    assert committed == {name: (each.kind, each.fields) for name, each in configurations.published().items()}


def test_make_and_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Templates are made, with a line for each; made again they are equal."""
    assert command.main([*HERE, *NAMES]) == 0
    assert [template.name for template in read_index(folder)] == sorted(NAMES)
    assert "taesd-decoder: 1.2 M weights in 67 tensors, 24.3 kB + 24.3 kB, " in capsys.readouterr().out
    assert command.main([*HERE, "--check", *NAMES]) == 0


def test_a_sample_has_one_template_of_each_kind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first name of each kind is taken; a written sample replaces nothing else."""
    assert command.main([*HERE, "taesd-encoder"]) == 0
    assert command.main([*HERE, "--sample", "taesd-16-decoder", "taesd-decoder"]) == 0
    assert [template.name for template in read_index(folder)] == ["taesd-16-decoder", "taesd-encoder"]
    assert "taesd-decoder:" not in capsys.readouterr().out


def test_check_finds_differences(folder: Path, made: MadeTemplate, capsys: pytest.CaptureFixture[str]) -> None:
    """A template that cannot be made again, and one that is missing, give exit code 1 and are named."""
    changed = replace(made, variants=tuple((variant, content + b"x") for variant, content in made.variants))
    write(folder, {"taesd-encoder": changed})
    assert command.main([*HERE, "--check", *NAMES]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert f"taesd-encoder differs from its entry in {folder / INDEX}" in errors
    assert f"taesd-decoder is missing in {folder / INDEX}" in errors


def test_damaged_archives_are_found(folder: Path, made: MadeTemplate) -> None:
    """An archive that does not match its index is a difference."""
    write(folder, {"taesd-encoder": made})
    assert compare(folder, "taesd-encoder", made) == []
    (folder / "taesd-encoder.xz").write_bytes(b"no archive")
    (fault,) = compare(folder, "taesd-encoder", made)
    assert "taesd-encoder.xz is damaged" in fault


def test_write_keeps_or_replaces(folder: Path, made: MadeTemplate) -> None:
    """Templates are added to a folder, replace those with the same key, and leave nothing else behind."""
    write(folder, {"first": made})
    write(folder, {"second": made})
    assert sorted(path.name for path in folder.iterdir()) == [INDEX, "second.xz"]
    other = replace(made, config=configurations.published()["taesd-decoder"])
    write(folder, {"third": other})
    assert [template.name for template in read_index(folder)] == ["second", "third"]
    write(folder, {"third": other}, replace=True)
    assert sorted(path.name for path in folder.iterdir()) == [INDEX, "third.xz"]


def test_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name is refused, with those that exist."""
    assert command.main(["sd9"]) == 2
    assert capsys.readouterr().err.startswith("there is no template sd9; there are: sd1-unet, ")


def test_configurations_of_a_folder(
    pipelines: Callable[[str], Path], tmp_path: Path, made: MadeTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--config` needs the configurations only, and makes what the pipeline needs."""
    monkeypatch.setattr(templates_of_pipelines, "make", lambda config: replace(made, config=config))
    source, out = tmp_path / "source", tmp_path / "out"
    for path in pipelines("sdxl").rglob("*.json"):
        copy = source / path.relative_to(pipelines("sdxl"))
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text("utf-8"))
    assert command.main(["--config", str(source), str(out)]) == 0
    kinds = {"clip", "clip_projected", "unet", "kl_encoder", "kl_decoder"}
    assert {template.kind for template in read_index(out)} == kinds
    configs = graph_configs(source).values()
    assert [config.pooled_width for component, config in configs if component == "unet"] == [32]


def test_unsupported_configurations(
    pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown field, and a missing file, are refused in one line with the file's name."""
    source = tmp_path / "source"
    (source / "text_encoder").mkdir(parents=True)
    (source / "model_index.json").write_text((pipelines("sd15") / "model_index.json").read_text())
    assert command.main(["--config", str(source), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"{source}: text_encoder/config.json is missing\n"
    (source / "text_encoder" / "config.json").write_text(json.dumps({"novelty": 7}))
    assert command.main(["--config", str(source), str(tmp_path / "out")]) == 2
    assert "text_encoder/config.json: novelty is not known for graphs of kind clip; got 7" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
