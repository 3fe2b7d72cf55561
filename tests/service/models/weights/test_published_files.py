"""Which files of a component's folder are its weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tintype.service.models.files import ModelFileError
from tintype.service.models.hub.choice import PRECISIONS, Wish, choose_weights
from tintype.service.models.loading_options import Precision
from tintype.service.models.weights.published_files import weight_files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

STEM = "diffusion_pytorch_model"


def shards(name: str, count: int = 2) -> list[str]:
    return [name.format(f"-{number:05}-of-{count:05}") for number in range(1, count + 1)]


SETS = {
    "full": [f"{STEM}.safetensors"],
    "fp32": [f"{STEM}.fp32.safetensors"],
    "fp16": ["model.fp16.safetensors"],
    "bf16": [f"{STEM}.bf16.safetensors"],
    "fp8": [f"{STEM}.fp8.safetensors"],
    "shards": [*shards("model{}.safetensors"), "model.safetensors.index.json"],
    "early variant": [*shards("model.fp16{}.safetensors"), "model.safetensors.index.fp16.json"],
    "late variant": [*shards("model{}.fp16.safetensors"), "model.safetensors.index.fp16.json"],
    "variant first": [*shards("model.fp16{}.safetensors"), "model.fp16.safetensors.index.json"],
}


def write(folder: Path, names: Iterable[str]) -> Path:
    folder.mkdir()
    listed = {name: name for name in names if "-of-" in name}
    for name in names:
        (folder / name).write_text(json.dumps({"weight_map": listed}) if name.endswith(".json") else "")
    return folder


@pytest.mark.parametrize("found", SETS)
@pytest.mark.parametrize("wished", ["", *PRECISIONS])
def test_what_the_hub_client_chooses_is_read(tmp_path: Path, found: str, wished: str) -> None:
    """A pull never ends with weights that the service does not find."""
    chosen = choose_weights("unet", SETS[found], Wish(precision=wished))
    read = weight_files(write(tmp_path / "unet", chosen))
    assert {path.name for path in read} == {name for name in chosen if name.endswith(".safetensors")}


def test_precisions(tmp_path: Path) -> None:
    """The full precision is read, the half one if it is asked for; averaged weights never."""
    kinds = {Precision.AUTO: ["", ".fp32", ".bf16", ".fp16", ".fp8"], Precision.FP16: [".fp16", ".bf16", "", ".fp32"]}
    for precision, order in kinds.items():
        folder = write(tmp_path / precision, [f"{STEM}{kind}.safetensors" for kind in (*order, ".non_ema")])
        for kind in order:
            (file,) = weight_files(folder, precision)
            assert file.name == f"{STEM}{kind}.safetensors"
            file.unlink()
        with pytest.raises(ModelFileError, match=rf"/ has no {STEM}\.safetensors or model\.safetensors"):
            weight_files(folder, precision)


@pytest.mark.parametrize("name", ["../a.safetensors", "/etc/passwd", "a/b.safetensors", ".a.safetensors", "a.bin"])
def test_an_index_names_files_of_its_folder(tmp_path: Path, name: str) -> None:
    """No index leads out of the folder."""
    folder = write(tmp_path / "unet", [])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(ModelFileError, match=r"weight_map must name \.safetensors files in its folder; got"):
        weight_files(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    """The message has the index and the file."""
    folder = write(tmp_path / "unet", SETS["shards"])
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"index\.json names model-00002-of-00002\.safetensors, which is missing"):
        weight_files(folder)


def test_pickles_are_refused(tmp_path: Path) -> None:
    """Even if there is nothing else."""
    with pytest.raises(ModelFileError, match=r"unet/ has its weights only as model\.bin, a format that can run code"):
        weight_files(write(tmp_path / "unet", ["model.bin"]))
