"""Files that are not safetensors files are refused by what they are, and never opened by anything else."""

from __future__ import annotations

import pickle
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.support.models import header_shapes as shapes
from tintype.service.models.checkpoint.header import read_header
from tintype.service.models.files import ModelFileError

if TYPE_CHECKING:
    from pathlib import Path


class Trap:
    """Deletes nothing, but would show that it was unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return print, ("unpickled",)


def zipped(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    return path.read_bytes()


CONTENTS = {
    "a pickle": pickle.dumps(Trap(), 2),
    "a GGUF file": b"GGUF\x03\x00\x00\x00" + bytes(64),
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n",
    "a web page": b"<!DOCTYPE html><html></html>",
    "a web page: the download failed": b"<!doctype html><html></html>",
    "a program": b"\x7fELF" + bytes(64),
    "not a safetensors file": b"\x00\x01",
    "is not a safetensors file, or is cut off": b"",
}


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("what", CONTENTS)
def test_other_format(tmp_path: Path, what: str, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of another format gets one line that says what it is, whatever its name is."""
    path = tmp_path / f"model{suffix}"
    path.write_bytes(CONTENTS[what])
    problem = "must be a .safetensors file" if "safetensors" in what and suffix == ".ckpt" else what
    with pytest.raises(ModelFileError, match=problem) as raised:
        read_header(path)
    assert f"{tmp_path.name}/model{suffix}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "unpickled" not in capsys.readouterr().out


def test_zipped_pickle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So does torch's archive, which has pickles in it."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(zipped(tmp_path / "a.zip"))
    with pytest.raises(ModelFileError, match="is a pickle, which can run any code"):
        read_header(path)
    assert not capsys.readouterr().out


def test_missing_file(tmp_path: Path) -> None:
    """A file that is missing is named."""
    with pytest.raises(ModelFileError, match=r"model\.safetensors cannot be read: No such file"):
        read_header(tmp_path / "model.safetensors")


def test_length_like_another_format(tmp_path: Path) -> None:
    """The length of a header may begin with the bytes of another format."""
    name = "x" * (0x0280 - len('{"":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'))
    text = f'{{"{name}":{{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}}}'.encode()
    content = len(text).to_bytes(8, "little") + text + b"\x00"
    assert content.startswith(b"\x80\x02")
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert list(read_header(path).entries) == [name]


def test_names_shapes_and_metadata(tmp_path: Path) -> None:
    """The header has the names, shapes and metadata of the file."""
    path = shapes.write_file(tmp_path / "model.sft", shapes.FILES["sd1"], {"modelspec.title": "Dream"})
    header = read_header(path)
    assert {name: entry.shape for name, entry in header.entries.items()} == shapes.FILES["sd1"]
    assert header.metadata == {"modelspec.title": "Dream"}


def test_dims() -> None:
    """A tensor with another number of axes, an empty one, or a missing one is named."""
    header = shapes.header({"a": (2, 3), "b": (2, 0)})
    assert header.dims("a", 2) == (2, 3)
    for name, axes, problem in (
        ("a", 1, "must have 1 axes"),
        ("b", 2, r"its shape is \[2, 0\]"),
        ("c", 1, "is missing"),
    ):
        with pytest.raises(ModelFileError, match=f"^models/dreamshaper.safetensors: {name} .*{problem}|{problem}"):
            header.dims(name, axes)


def test_blocks() -> None:
    """Blocks are counted up to the first gap."""
    header = shapes.header(dict.fromkeys(("a.0.b", "a.1.b", "a.3.b"), (1,)))
    assert (header.blocks("a.{}.b"), header.blocks("c.{}.b")) == (2, 0)
