"""Files in the safetensors format are read without its library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.models.adapter_files import write_tensors
from tintype.service.models.files import ModelFileError
from tintype.service.models.safetensors import MAX_BYTES, TensorFile, read_tensors

if TYPE_CHECKING:
    from pathlib import Path


def test_tensors_arrive(tmp_path: Path) -> None:
    """Float32 and float16, of any shape; what is said beside them is left out."""
    wide, half = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[0.5], [-2]], np.float16)
    write_tensors(tmp_path / "a.safetensors", {"wide": wide, "half": half})
    found = read_tensors(tmp_path / "a.safetensors")
    assert {name: array.tolist() for name, array in found.items()} == {"wide": wide.tolist(), "half": half.tolist()}
    assert all(array.dtype == np.float32 for array in found.values())


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    """Torch's own half precision, which numpy has not."""
    numbers = np.array([1.5, -0.25], np.float32)
    data = (numbers.view(np.uint32) >> 16).astype("<u2").tobytes()
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    assert read_tensors(tmp_path / "a.safetensors")["x"].tolist() == [1.5, -0.25]


@pytest.mark.parametrize(
    "said",
    [
        {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [900, 908]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [0], "data_offsets": [8, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]},
        {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32"},
        7,
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, said: object) -> None:
    """Whatever does not belong together is a fault of the file, never a wrong number."""
    header = json.dumps({"x": said}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ModelFileError):
        read_tensors(tmp_path / "a.safetensors")


def test_tensors_that_overlap_are_told(tmp_path: Path) -> None:
    """Else a small file could hold as many numbers as its header claims."""
    said = {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in "ab"}
    header = json.dumps(said).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ModelFileError, match="b must begin at byte 8, not 0"):
        read_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("header", [b"[" * 100_000, b"[]", b"7", b"null", b'{"__metadata__": 3}', b"\xff\xfe{}"])
def test_a_header_of_something_else_is_told(tmp_path: Path, header: bytes) -> None:
    """Whatever JSON it is, or is not, however deep."""
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelFileError, match=r"a\.safetensors is not a safetensors file"):
        read_tensors(tmp_path / "a.safetensors")


def test_a_file_larger_than_an_adapter_is_not_read(tmp_path: Path) -> None:
    """However little of it takes space on the disk."""
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ModelFileError, match=r"must have at most \d+ bytes"):
        TensorFile(tmp_path / "a.safetensors")


@pytest.mark.torch
@pytest.mark.parametrize(("kind", "name"), [("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2")])
def test_types_of_eight_bits_are_what_torch_reads(tmp_path: Path, kind: str, name: str) -> None:
    """All 256 values of each, of which some are no number."""
    torch = pytest.importorskip("torch")
    header = json.dumps({"x": {"dtype": kind, "shape": [256], "data_offsets": [0, 256]}}).encode()
    data = bytes(range(256))
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    theirs = torch.frombuffer(bytearray(data), dtype=getattr(torch, name)).float().numpy()
    np.testing.assert_array_equal(read_tensors(tmp_path / "a.safetensors")["x"], theirs)


@pytest.mark.parametrize("data", [b"", b"short", b"\xff" * 64, (5).to_bytes(8, "little") + b"hello"])
def test_another_file_is_told(tmp_path: Path, data: bytes) -> None:
    """A file of another kind is named, and nothing as long as it claims is read."""
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"a\.safetensors"):
        read_tensors(tmp_path / "a.safetensors")
