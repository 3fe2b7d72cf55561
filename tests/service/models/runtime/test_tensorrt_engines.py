"""TensorRT's engines on disk: found again, told apart, and removed when they take too much."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

import pytest

from tintype.service.models.runtime import nvidia, tensorrt_engines
from tintype.service.models.runtime.providers import onnxruntime
from tintype.service.models.runtime.tensorrt_engines import MARK, empty, is_unreadable, prepared, prune

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = {"sample": (2, 4, 64, 96), "timestep": (2,)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a graph with one file beside it."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/model.onnx").write_bytes(b"graph")
    return tmp_path / "unet/model.onnx"


def test_an_engine_is_of_these_files_and_this_shape(path: Path, tmp_path: Path) -> None:
    """Another shape or number of rows, or other weights, make another engine; the same ones find it again."""
    first = prepared(tmp_path / "e", path, SHAPES)
    assert first.name.startswith("unet-")
    assert prepared(tmp_path / "e", path, dict(reversed(SHAPES.items()))) == first
    others = [
        prepared(tmp_path / "e", path, SHAPES | more) for more in ({"timestep": (1,)}, {"sample": (2, 4, 64, 64)})
    ]
    (path.parent / "model.onnx_data").write_bytes(b"weights")
    others.append(prepared(tmp_path / "e", path, SHAPES))
    assert len({first, *others}) == 4


@pytest.mark.parametrize("what", ["device", "tensorrt_version"])
def test_an_engine_is_of_this_gpu_and_these_versions(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Another GPU, even of the same capability, or another TensorRT makes another engine; its note names them."""
    made = []
    for value in ("NVIDIA A10 8.6", "NVIDIA A40 8.6"):
        monkeypatch.setattr(nvidia, what, lambda value=value: value)
        made.append(prepared(tmp_path / "e", path, SHAPES))
        assert value in (made[-1] / MARK).read_text()
    assert made[0] != made[1]


def test_an_engine_is_of_this_onnxruntime(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Onnxruntime asks to clean up after its own updates; a new name does it."""
    first = prepared(tmp_path / "e", path, SHAPES)
    monkeypatch.setattr(onnxruntime(), "__version__", "9.9")
    assert prepared(tmp_path / "e", path, SHAPES) != first


class Driver:
    """NVIDIA's driver, as far as it is asked; `status` is what it answers first."""

    status = 0

    def cuInit(self, _flags: int) -> int:  # noqa: N802 - the driver's names
        return self.status

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, name: Any, size: int, _device: Any) -> int:  # noqa: N802
        assert size == len(name)
        name.value = b"NVIDIA H200"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, _device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0

    def getInferLibVersion(self) -> int:  # noqa: N802
        return 101401


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a fake driver in the place of NVIDIA's libraries."""
    for known in (nvidia.device, nvidia.tensorrt_version):
        known.cache_clear()
    fake = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: fake)
    monkeypatch.setattr(nvidia, "load_tensorrt", lambda: None)
    yield fake
    for known in (nvidia.device, nvidia.tensorrt_version):
        known.cache_clear()


def test_the_driver_says_which_gpu_it_is(driver: Driver) -> None:
    """The name and the capability tell one GPU from another; TensorRT says its own version."""
    assert nvidia.has_driver()
    assert nvidia.device() == "NVIDIA H200 9.0"
    assert nvidia.tensorrt_version() == "101401"
    assert driver.status == 0


def test_a_driver_that_fails_has_no_gpu(driver: Driver) -> None:
    """A driver without a device, as in a container that was given none, names nothing."""
    driver.status = 100
    assert nvidia.device() == ""


def test_without_libraries_there_is_nothing_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without NVIDIA's libraries the answers are empty."""
    monkeypatch.setattr(nvidia, "DRIVER", ("none.dll", "libnone.so"))
    monkeypatch.setattr(nvidia, "INFER", ("none.dll", "libnone.so"))
    for known in (nvidia.device, nvidia.tensorrt_version):
        known.cache_clear()
    assert (nvidia.device(), nvidia.tensorrt_version(), nvidia.has_driver()) == ("", "", False)
    for known in (nvidia.device, nvidia.tensorrt_version):
        known.cache_clear()


@pytest.mark.parametrize(
    ("said", "unreadable"),
    [
        ("TensorRT EP could not deserialize engine from cache: /a/b.engine", True),
        ("TensorRT EP failed to deserialize engine for fused node: n", True),
        ("TensorRT EP failed to create engine from network", False),
        ("CUDA failure 2: out of memory", False),
    ],
)
def test_unreadable_engines_are_told_from_other_failures(said: str, *, unreadable: bool) -> None:
    """The texts are those of onnxruntime 1.31.1's provider."""
    assert is_unreadable(RuntimeError(said)) is unreadable


def test_an_emptied_folder_keeps_its_note(path: Path, tmp_path: Path) -> None:
    """What an engine is of stays readable."""
    folder = prepared(tmp_path / "e", path, SHAPES)
    (folder / "a.engine").write_bytes(b"1")
    empty(folder)
    assert [file.name for file in folder.iterdir()] == [MARK]


def aged(root: Path, name: str, size: int, used: int) -> Path:
    """Make an engine that was last used at `used`."""
    (root / name).mkdir(parents=True)
    (root / name / "x.engine").write_bytes(b"0" * size)
    (root / name / MARK).write_text("")
    os.utime(root / name / MARK, (used, used))
    return root / name


@pytest.mark.parametrize(("bound", "left"), [(1000, "abcd"), (399, "bcd"), (250, "cd"), (150, "d"), (0, "d")])
def test_engines_used_longest_ago_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int, left: str) -> None:
    """All together have a bound in bytes; the newest one stays, even alone above it."""
    monkeypatch.setattr(tensorrt_engines, "BYTES", bound)
    root = tmp_path / "e"
    folders = [aged(root, name, 100, used) for name, used in {"a": 1, "c": 3, "b": 2, "d": 4}.items()]
    prune(root, folders[-1])
    assert sorted(folder.name for folder in root.iterdir()) == list(left)


def test_what_tintype_did_not_make_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without the note, a file, and the timing caches are left alone, and not counted."""
    monkeypatch.setattr(tensorrt_engines, "BYTES", 10)
    mine = aged(tmp_path, "unet-0123456789abcdef", 100, 1)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/x.engine").write_bytes(b"0" * 100)
    (tmp_path / "kernels.timing").write_bytes(b"0" * 100)
    prune(tmp_path, tmp_path / "none")
    assert not mine.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kernels.timing", "photos"]


def test_a_use_is_noted(path: Path, tmp_path: Path) -> None:
    """The note's time of change is the last use, by which engines are ordered."""
    mark = prepared(tmp_path / "e", path, SHAPES) / MARK
    os.utime(mark, (1, 1))
    prepared(tmp_path / "e", path, SHAPES)
    assert mark.stat().st_mtime > 1
