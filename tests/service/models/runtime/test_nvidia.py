"""NVIDIA's libraries: loaded before the first session that needs them, and only then; the GPU and its versions."""

from __future__ import annotations

import ctypes
import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tintype.service.models.graph_source import OnnxFile
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.runtime import nvidia, probe, providers
from tintype.service.models.runtime.ort import OrtGraph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the list of loaded libraries; nothing is really loaded."""
    names: list[str] = []
    monkeypatch.setattr(nvidia, "CUDA", "tintype")
    for load in (nvidia.load_cuda, nvidia.load_tensorrt):
        load.cache_clear()
    monkeypatch.setattr(providers.onnxruntime(), "preload_dlls", lambda: names.append("cuda"))
    yield names
    for load in (nvidia.load_cuda, nvidia.load_tensorrt):
        load.cache_clear()


def test_cuda_is_loaded_once_before_the_first_session(loaded: list[str]) -> None:
    """The libraries of the extra `cuda` are in the process when onnxruntime needs them: no loader would find them."""
    if nvidia.has_driver():
        pytest.skip("an NVIDIA driver is installed")
    assert probe.find_problem("cuda")
    assert loaded == ["cuda"]
    probe.find_problem("cuda")
    assert loaded == ["cuda"]


def test_a_graph_loads_only_the_libraries_of_its_provider(loaded: list[str]) -> None:
    """Opening a graph loads them even if the provider was not tested before; the CPU needs none."""
    OrtGraph(OnnxFile(BUILTIN / "vae_decoder/model.onnx"), "cpu", 1)
    assert loaded == []
    providers.load_libraries("tensorrt")
    assert loaded == ["cuda"]


def test_a_tensorrt_package_that_fails_to_import_is_logged(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Importing the package loads its libraries. CUDA is loaded before; a failed import is a warning with its cause."""
    (tmp_path / "libs_of_tensorrt.py").write_text("raise OSError('no libnvinfer')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(nvidia, "TENSORRT", "libs_of_tensorrt")
    with caplog.at_level(logging.WARNING):
        nvidia.load_tensorrt()
    assert loaded == ["cuda"]
    assert "libs_of_tensorrt can't be imported: no libnvinfer" in caplog.text


def test_missing_libraries_are_printed_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The libraries that onnxruntime does not find must not appear in the standard output of a command."""
    nvidia.load_cuda.cache_clear()
    monkeypatch.setattr(nvidia, "CUDA", "tintype")
    monkeypatch.setattr(providers.onnxruntime(), "preload_dlls", lambda: sys.stdout.write("no libcublas.so.13"))
    nvidia.load_cuda()
    nvidia.load_cuda.cache_clear()
    out, err = capsys.readouterr()
    assert (out, bool(re.search("libcublas", err))) == ("", True)


def test_without_the_packages_nothing_is_loaded(loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages of the extra `cuda`, no library is loaded and nothing is printed."""
    monkeypatch.setattr(nvidia, "CUDA", "no_such_package")
    nvidia.load_cuda()
    assert loaded == []


class FakeDriver:
    """The functions of NVIDIA's driver that are used; `status` is the result of `cuInit`."""

    status = 0
    retained = 0

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

    def cuDevicePrimaryCtxRetain(self, _context: Any, _device: Any) -> int:  # noqa: N802
        self.retained += 1
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, _device: Any) -> int:  # noqa: N802
        self.retained -= 1
        return 0

    def cuCtxPushCurrent_v2(self, _context: Any) -> int:  # noqa: N802
        return 0

    def cuCtxPopCurrent_v2(self, _context: Any) -> int:  # noqa: N802
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:  # noqa: N802
        free._obj.value, total._obj.value = 5 * 2**30, 8 * 2**30
        return 0

    def getInferLibVersion(self) -> int:  # noqa: N802
        return 101401


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace NVIDIA's libraries with a fake driver."""
    for function in (nvidia.describe_gpu, nvidia.tensorrt_version):
        function.cache_clear()
    fake = FakeDriver()
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: fake)
    monkeypatch.setattr(nvidia, "load_tensorrt", lambda: None)
    yield fake
    for function in (nvidia.describe_gpu, nvidia.tensorrt_version):
        function.cache_clear()


def test_the_gpu_and_tensorrt_are_described(driver: FakeDriver) -> None:
    """A GPU is described by its name and its compute capability, TensorRT by its version number."""
    assert nvidia.has_driver()
    assert nvidia.describe_gpu() == "NVIDIA H200 9.0"
    assert nvidia.tensorrt_version() == "101401"
    assert driver.status == 0


def test_free_memory_is_the_drivers(driver: FakeDriver) -> None:
    """It is read in the GPU's own context, which is released again."""
    assert nvidia.free_memory() == 5 * 2**30
    assert driver.retained == 0


def test_a_failing_driver_has_no_gpu(driver: FakeDriver) -> None:
    """The description is empty for a driver without a device, as in a container without GPU access."""
    driver.status = 100
    assert nvidia.describe_gpu() == ""
    assert nvidia.free_memory() == 0


def test_without_nvidias_libraries_descriptions_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without NVIDIA's libraries has no driver, no GPU and no version of TensorRT."""
    monkeypatch.setattr(nvidia, "DRIVER", ("none.dll", "libnone.so"))
    monkeypatch.setattr(nvidia, "INFER", ("none.dll", "libnone.so"))
    for function in (nvidia.describe_gpu, nvidia.tensorrt_version):
        function.cache_clear()
    assert (nvidia.describe_gpu(), nvidia.tensorrt_version(), nvidia.has_driver()) == ("", "", False)
    for function in (nvidia.describe_gpu, nvidia.tensorrt_version):
        function.cache_clear()


def test_the_arena_on_the_gpu_is_created_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It grows by the size requested, so that it can shrink, and has no limit."""
    calls: list[Any] = []
    runtime = providers.onnxruntime()
    monkeypatch.setattr(runtime, "create_and_register_allocator_v2", lambda *arguments: calls.append(arguments))
    nvidia.share_arena.cache_clear()
    for _ in range(2):
        nvidia.share_arena()
    nvidia.share_arena.cache_clear()
    ((provider, device, options, config),) = calls
    assert (provider, device.name, options) == ("CUDAExecutionProvider", "Cuda", {})
    assert config.arena_extend_strategy == 1


def test_onnxruntime_accepts_the_arguments_of_the_arena(caplog: pytest.LogCaptureFixture) -> None:
    """Without CUDA the warning is about CUDA, not about the arguments, and sessions work without the arena."""
    nvidia.share_arena.cache_clear()
    with caplog.at_level(logging.WARNING):
        nvidia.share_arena()
    nvidia.share_arena.cache_clear()
    assert "sessions share no memory on the GPU" in caplog.text or not caplog.text
    assert "incompatible" not in caplog.text
