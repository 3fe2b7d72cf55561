"""Files in the safetensors format are read without its library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.models.adapter_files import write_tensors
from tintype.service.models.files import ModelFileError
from tintype.service.models.safetensors import MAX_BYTES, MAX_HEADER, TensorFile, read_tensors

if TYPE_CHECKING:
    from pathlib import Path


def test_tensors_are_read(tmp_path: Path) -> None:
    """Float32 and float16 tensors of any shape are read as float32; metadata is not a tensor."""
    wide, half = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[0.5], [-2]], np.float16)
    write_tensors(tmp_path / "a.safetensors", {"wide": wide, "half": half})
    found = read_tensors(tmp_path / "a.safetensors")
    assert {name: array.tolist() for name, array in found.items()} == {"wide": wide.tolist(), "half": half.tolist()}
    assert all(array.dtype == np.float32 for array in found.values())


def test_every_float16_is_read_exactly(tmp_path: Path) -> None:
    """All 65,536 values: with infinities and NaN, and without them, which is read in another way."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    write_tensors(tmp_path / "a.safetensors", {"every": every, "finite": every[np.isfinite(every)]})
    found = read_tensors(tmp_path / "a.safetensors")
    assert np.array_equal(found["every"], every.astype(np.float32), equal_nan=True)
    assert np.array_equal(found["finite"], every[np.isfinite(every)].astype(np.float32))
    assert np.signbit(found["finite"][found["finite"] == 0]).tolist() == [False, True]


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    """bfloat16, which NumPy does not have, is widened to float32."""
    numbers = np.array([1.5, -0.25], np.float32)
    data = (numbers.view(np.uint32) >> 16).astype("<u2").tobytes()
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    assert read_tensors(tmp_path / "a.safetensors")["x"].tolist() == [1.5, -0.25]


@pytest.mark.parametrize(
    "entry",
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
def test_damaged_entries_are_rejected(tmp_path: Path, entry: object) -> None:
    """An entry whose fields do not fit together is an error, never a wrong number."""
    header = json.dumps({"x": entry}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ModelFileError):
        read_tensors(tmp_path / "a.safetensors")


def test_the_number_of_axes_is_limited(tmp_path: Path) -> None:
    """The product of millions of axes, which a header may have, would take hours."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [2] + [1] * 64, "data_offsets": [0, 8]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ModelFileError, match="x must have at most 64 axes, not 65"):
        TensorFile(tmp_path / "a.safetensors")


def test_overlapping_tensors_are_rejected(tmp_path: Path) -> None:
    """Otherwise a small file could hold as many numbers as its header claims."""
    entries = {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in "ab"}
    header = json.dumps(entries).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ModelFileError, match="b must begin at byte 8, not 0"):
        read_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("header", [b"[" * 100_000, b"[]", b"7", b"null", b'{"__metadata__": 3}', b"\xff\xfe{}"])
def test_other_headers_are_rejected(tmp_path: Path, header: bytes) -> None:
    """A header that is not a JSON object of tensors is rejected, at any nesting depth."""
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelFileError, match=r"a\.safetensors is not a safetensors file"):
        read_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"[1]", "is not a safetensors file: its header must be a JSON object, not list"),
        (b'{"__metadata__": [1]}', "is not a safetensors file: __metadata__ must be a JSON object, not list"),
        (
            b'{"x": {"dtype": "F32", "shape": [' + b"1" * 5000 + b'], "data_offsets": [0, 4]}}',
            "is not a safetensors file: its header is not valid: a number has 5000 digits$",
        ),
        (b'{"x": 7}', ": x must have a dtype, a shape and two data_offsets"),
        (b'{"x": {"dtype": "F32", "shape": 7, "data_offsets": [0, 4]}}', ": x must have a dtype, a shape and two"),
        (b'{"x": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}', r": x has the dtype \['F32'\]; supported"),
    ],
)
def test_messages_name_the_field_of_a_header(tmp_path: Path, header: bytes, problem: str) -> None:
    """The message says what is wrong in the file, not which Python operation failed."""
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ModelFileError, match=rf"a\.safetensors ?{problem}"):
        TensorFile(tmp_path / "a.safetensors")


def test_a_header_of_more_tensors_than_any_model_is_not_read(tmp_path: Path) -> None:
    """The message names the limit: the file is not cut off."""
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.write((MAX_HEADER + 1).to_bytes(8, "little"))
        file.truncate(MAX_HEADER + 100)
    with pytest.raises(
        ModelFileError, match=rf"must have a header of at most {MAX_HEADER} bytes, not {MAX_HEADER + 1}"
    ):
        TensorFile(tmp_path / "a.safetensors")


def test_a_file_larger_than_an_adapter_is_not_read(tmp_path: Path) -> None:
    """The limit is of the file's size, also for a sparse file."""
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ModelFileError, match=r"must have at most \d+ bytes"):
        TensorFile(tmp_path / "a.safetensors")


@pytest.mark.parametrize("dtype", ["U8", "I8", "BOOL"])
def test_tensors_without_numbers_may_lie_next_to_others(tmp_path: Path, dtype: str) -> None:
    """A file may have such tensors, for example descriptions in JSON; reading one is an error that names it."""
    entries = {
        "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "y": {"dtype": dtype, "shape": [2], "data_offsets": [4, 6]},
    }
    header = json.dumps(entries).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(6))
    file = TensorFile(tmp_path / "a.safetensors")
    assert file.read("x").tolist() == [0]
    with pytest.raises(ModelFileError, match=rf"a\.safetensors: y has the dtype {dtype}; supported are F64, F32"):
        file.read("y")


@pytest.mark.torch
@pytest.mark.parametrize(("kind", "name"), [("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2")])
def test_8_bit_floats_equal_torch(tmp_path: Path, kind: str, name: str) -> None:
    """All 256 values of both types equal those of torch, NaN included."""
    torch = pytest.importorskip("torch")
    header = json.dumps({"x": {"dtype": kind, "shape": [256], "data_offsets": [0, 256]}}).encode()
    data = bytes(range(256))
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    theirs = torch.frombuffer(bytearray(data), dtype=getattr(torch, name)).float().numpy()
    np.testing.assert_array_equal(read_tensors(tmp_path / "a.safetensors")["x"], theirs)


@pytest.mark.parametrize("data", [b"", b"short", b"\xff" * 64, (5).to_bytes(8, "little") + b"hello"])
def test_other_files_are_rejected(tmp_path: Path, data: bytes) -> None:
    """A file of another type is named, and no more is read than it holds."""
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"a\.safetensors"):
        read_tensors(tmp_path / "a.safetensors")
