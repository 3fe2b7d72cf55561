"""Search for the template of a configuration: the installed ones, further ones, and what is said if none fits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tintype.service.models.files import ModelFileError
from tintype.service.models.templates.archive import Variant, pack, stored
from tintype.service.models.templates.catalogue import DATA, INDEX, Template, find, installed, read_index
from tintype.service.models.templates.keys import shaping
from tintype.service.models.templates.onnx_pb2 import ModelProto

if TYPE_CHECKING:
    from pathlib import Path

SD1 = {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64}


def write(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write a folder with one template, and return its entry in the index."""
    contents = [b"plain", b"with adapters"]
    variants = tuple(stored(Variant(adapters=n == 1), content) for n, content in enumerate(contents))
    entry = Template(folder, "mine", "unet", shaping("unet", SD1), variants, 10, 1).as_json() | changes
    folder.mkdir(exist_ok=True)
    (folder / "mine.xz").write_bytes(pack(contents))
    (folder / INDEX).write_text(json.dumps({"templates": [entry]}))
    return entry


def test_installed() -> None:
    """The configuration of Stable Diffusion 1.5's UNet finds its graph, whose weights have names and no numbers."""
    template = find("unet", SD1)
    model = ModelProto.FromString(template.read(Variant()))
    weights = [each for each in model.graph.initializer if each.external_data]
    assert template.name == "sd1-unet"
    assert len(weights) == template.tensors == 686
    assert {tuple(entry.value for entry in each.external_data) for each in weights} == {("weights",)}
    assert not any(each.raw_data for each in weights)
    assert "down_blocks.0.resnets.0.conv1.weight" in {each.name for each in weights}


def test_all_are_complete() -> None:
    """Every installed template has its archive, and nothing else is in the folder."""
    names = {template.path.name for template in installed()}
    assert {path.name for path in DATA.iterdir()} - {INDEX} == names
    keys = [(template.kind, json.dumps(template.config)) for template in installed()]
    assert len(set(keys)) == len(keys), "two templates have one key"


def test_every_config_is_normalised() -> None:
    """The index holds keys: normalising one again changes nothing."""
    assert [each.name for each in installed() if shaping(each.kind, each.config) != each.config] == []


def test_nearest() -> None:
    """If none fits, the nearest one is named, with what differs."""
    expected = "no template fits; the nearest is sd1-unet, but cross_attention_dim is 999, not 768"
    with pytest.raises(ModelFileError) as refused:
        find("unet", SD1 | {"cross_attention_dim": 999})
    assert str(refused.value) == expected


def test_long_values() -> None:
    """A value is shortened, whatever a configuration has."""
    with pytest.raises(ModelFileError, match=r"but block_out_channels is \[1, 1, .*\.\.\., not \[320, ") as refused:
        find("unet", SD1 | {"block_out_channels": [1] * 100_000})
    assert len(str(refused.value)) < 500


def test_many_differences() -> None:
    """A configuration that differs everywhere gives a short message."""
    config = dict.fromkeys(shaping("sd3", {}), 7)
    with pytest.raises(ModelFileError, match=r", \d more fields$") as refused:
        find("sd3", config)
    assert len(str(refused.value)) < 500


def test_further_folder_comes_first(tmp_path: Path) -> None:
    """A folder of further templates is searched before the installed ones, which are still found."""
    write(tmp_path)
    assert find("unet", SD1, tmp_path).name == "mine"
    assert find("unet", SD1).name == "sd1-unet"
    assert find("clip", find_config("clip-l"), tmp_path).name == "clip-l"


def find_config(name: str) -> Any:
    return next(template.config for template in installed() if template.name == name)


def test_missing_variants(tmp_path: Path) -> None:
    """A graph without a float16 variant is read in float32, and one that takes no adapters without them."""
    write(tmp_path)
    (template,) = read_index(tmp_path)
    assert template.read(Variant(half=True, adapters=True)) == b"with adapters"
    assert template.read(Variant(half=True)) == b"plain"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../mine"},
        {"name": 7},
        {"kind": "unknown"},
        {"config": []},
        {"variants": []},
        {"variants": [{"half": True, "adapters": False, "bytes": 5, "sha256": "0" * 64}]},
        {"variants": [{"half": n > 0, "adapters": n > 0, "bytes": 5, "sha256": "0" * 64} for n in range(2)]},
        {"variants": [{"half": False, "adapters": False, "bytes": 2**40, "sha256": "0" * 64}]},
        {"variants": [{"half": False, "adapters": False, "bytes": 5, "sha256": "0"}]},
        {"parameters": None},
    ],
)
def test_damaged_index(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A wrong entry of an index is refused with the file's name."""
    write(tmp_path, **changes)
    with pytest.raises(ModelFileError, match=r"index\.json is not an index of templates: "):
        read_index(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"templates": 7}', '{"templates": [7]}'])
def test_other_json(tmp_path: Path, text: str) -> None:
    """A file that is not an index is refused with its name."""
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(ModelFileError, match=r"index\.json"):
        read_index(tmp_path)


def test_large_index(tmp_path: Path) -> None:
    """An index of more than 16 MiB is not read."""
    with (tmp_path / INDEX).open("wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(ModelFileError, match=r"index\.json must have at most 16777216 bytes"):
        read_index(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    """A folder without an index is named."""
    with pytest.raises(ModelFileError, match=r"index\.json is missing"):
        find("unet", SD1, tmp_path / "none")
