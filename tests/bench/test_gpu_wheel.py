"""A small wheel of onnxruntime-gpu keeps the kernels of some compute capabilities and is a whole wheel."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import random
import struct
import zipfile
from typing import TYPE_CHECKING

import gpu_wheel
import pytest

if TYPE_CHECKING:
    from pathlib import Path

PTX, CODE = gpu_wheel.PTX, gpu_wheel.MACHINE_CODE
METADATA = "Name: onnxruntime-gpu\nVersion: 1.31.1\n\n1.31.1\n"
NAME = "onnxruntime_gpu-1.31.1-cp312-cp312-manylinux_2_28_x86_64.whl"


def code(size: int, seed: int) -> bytes:
    """Return bytes that cannot be compressed."""
    return random.Random(seed).randbytes(size)  # noqa: S311


def fat_binary(*entries: tuple[int, int, bytes]) -> bytes:
    """Return a fat binary of entries (kind, capability, code), each with a header of 64 bytes."""
    body = b""
    for kind, capability, content in entries:
        header = struct.pack("<HHIQIIII", kind, 0x101, 64, len(content), 0, 0, 0, capability)
        body += header + bytes(64 - len(header)) + content
    return struct.pack("<4sHHQ", gpu_wheel.MAGIC, 1, 16, len(body)) + body


def make_library() -> bytes:
    """Return a library with two fat binaries, one after the other, and what only looks like one."""
    first = fat_binary((CODE, 80, code(500, 1)), (CODE, 90, code(300, 2)), (PTX, 90, code(40, 3)))
    second = fat_binary((CODE, 90, code(200, 4)), (CODE, 120, code(600, 5)))
    return b"\x7fELF" + code(99, 6) + first + second + code(50, 7) + gpu_wheel.MAGIC + code(20, 8) + gpu_wheel.MAGIC


def write_wheel(path: Path, library: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"onnxruntime/capi/{gpu_wheel.LIBRARY}", library)
        wheel.writestr("onnxruntime/__init__.py", "pass\n")
        wheel.writestr(
            "onnxruntime_gpu-1.31.1.dist-info/METADATA", "Name: onnxruntime-gpu\nVersion: 1.31.1\n\n1.31.1\n"
        )
        wheel.writestr("onnxruntime_gpu-1.31.1.dist-info/RECORD", "")
    return path


def test_entries_are_found() -> None:
    """All entries of all fat binaries are found, at their places; the magic number alone is not a fat binary."""
    library = make_library()
    found = list(gpu_wheel.find_kernels(library))
    assert [each[:2] for each in found] == [(CODE, 80), (CODE, 90), (PTX, 90), (CODE, 90), (CODE, 120)]
    contents = [library[each.start : each.start + each.size] for each in found]
    assert contents == [code(500, 1), code(300, 2), code(40, 3), code(200, 4), code(600, 5)]


def test_other_kernels_become_zeros() -> None:
    """Only the code of other capabilities and PTX change; headers, and all else, stay where they are."""
    library = bytearray(make_library())
    assert gpu_wheel.remove_kernels(library, [90]) == {90: 500}
    expected = make_library()
    for seed, size in ((1, 500), (3, 40), (5, 600)):
        expected = expected.replace(code(size, seed), bytes(size))
    assert library == expected


def test_a_capability_without_kernels_is_refused() -> None:
    """The message names the capabilities that the library has."""
    with pytest.raises(ValueError, match=r"--keep must be among 80, 90, 120; got 100"):
        gpu_wheel.remove_kernels(bytearray(make_library()), [90, 100])


def test_the_result_is_a_wheel(tmp_path: Path) -> None:
    """It has the local version everywhere, no file that was to be dropped, and digests and sizes in RECORD."""
    made = gpu_wheel.slim(write_wheel(tmp_path / NAME, make_library()), tmp_path, [90], ["*/__init__.py"])
    assert made.name == NAME.replace("1.31.1", "1.31.1+sm90")
    with zipfile.ZipFile(made) as wheel:
        assert wheel.testzip() is None
        files = {name: wheel.read(name) for name in wheel.namelist()}
    assert files["onnxruntime_gpu-1.31.1+sm90.dist-info/METADATA"].splitlines()[1] == b"Version: 1.31.1+sm90"
    rows = list(csv.reader(io.StringIO(files["onnxruntime_gpu-1.31.1+sm90.dist-info/RECORD"].decode())))
    assert {row[0] for row in rows} == files.keys()
    assert not any("__init__" in name for name in files)
    for name, digest, size in rows[:-1]:
        assert int(size) == len(files[name])
        expected = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).decode().rstrip("=")
        assert digest == f"sha256={expected}"


def test_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wheel without the library, and what is not a wheel, give one line and the exit code 2."""
    with zipfile.ZipFile(tmp_path / NAME, "w") as wheel:
        wheel.writestr("onnxruntime/__init__.py", "pass\n")
    assert gpu_wheel.main([str(tmp_path / NAME), str(tmp_path / "out"), "--keep", "90"]) == 2
    assert (
        capsys.readouterr().err
        == f"{NAME} must be a wheel of onnxruntime-gpu for Linux: it has no {gpu_wheel.LIBRARY}\n"
    )
    (tmp_path / NAME).write_bytes(b"text")
    assert gpu_wheel.main([str(tmp_path / NAME), str(tmp_path / "out"), "--keep", "90"]) == 2
    assert capsys.readouterr().err == "File is not a zip file\n"
