"""Plugin packages are found, registered once, and their devices listed; a fake onnxruntime has the interface."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tintype.service.models.runtime.plugins import library, table, vulkan
from tintype.service.models.runtime.plugins.library import Adapter, adapters, add_device, devices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KINDS = SimpleNamespace(CPU=SimpleNamespace(name="CPU"), GPU=SimpleNamespace(name="GPU"))
PACKAGE = """
def get_library_path(): return "/lib/fake.so"
def get_ep_name(): return "FakeExecutionProvider"
"""


def device(kind: Any, ep_name: str = "FakeExecutionProvider", **metadata: str) -> Any:
    hardware = SimpleNamespace(type=kind, vendor="Maker", device_id=0x2684, metadata=metadata)
    return SimpleNamespace(ep_name=ep_name, device=hardware)


class FakeOnnxruntime:
    """An onnxruntime with the plugin interface, and the calls that it got."""

    __version__ = "1.31.1"
    OrtHardwareDeviceType = KINDS

    def __init__(self, *found: Any) -> None:
        self.found = list(found)
        self.registered: list[tuple[str, str]] = []

    def register_execution_provider_library(self, name: str, path: str) -> None:
        self.registered.append((name, path))

    def get_ep_devices(self) -> list[Any]:
        return [device(KINDS.CPU, "CPUExecutionProvider"), *self.found]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Provide an empty folder for packages, no registered plugin and no GPU; forget the packages afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(library, "_devices", {})
    monkeypatch.setattr(table, "DRM", tmp_path / "drm")
    table.installed.cache_clear()
    yield
    table.installed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("onnxruntime_ep_fake")]:
        del sys.modules[name]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeOnnxruntime]:
    """Return a function that installs a package and an onnxruntime with these devices."""

    def make(*found: Any, package: str = "onnxruntime_ep_fake_npu", source: str = PACKAGE) -> FakeOnnxruntime:
        (tmp_path / f"{package}.py").write_text(source, "utf-8")
        fake = FakeOnnxruntime(*found)
        monkeypatch.setattr(library, "onnxruntime", lambda: fake)
        return fake

    return make


def test_a_package_with_a_plugins_name_is_a_provider(install: Callable[..., FakeOnnxruntime], tmp_path: Path) -> None:
    """Its short name comes from the package; OpenVINO's plugin is not used, and no package is imported."""
    install()
    (tmp_path / "onnxruntime_ep_openvino.py").write_text("raise SystemExit", "utf-8")
    (tmp_path / "onnxruntime_ep_webgpu.py").write_text("raise SystemExit", "utf-8")
    found = table.installed()
    assert next(iter(found)) == "webgpu"
    assert found["webgpu"].capture
    assert found["fake-npu"].package == "onnxruntime_ep_fake_npu"
    assert "openvino" not in found


def test_a_library_is_registered_once(install: Callable[..., FakeOnnxruntime]) -> None:
    """With the path of its package; other providers' devices are left out, and the processor comes last."""
    cpu, gpu = device(KINDS.CPU), device(KINDS.GPU)
    fake = install(cpu, gpu)
    assert devices("fake-npu") == devices("fake-npu") == [gpu, cpu]
    assert fake.registered == [("fake-npu", "/lib/fake.so")]
    assert library.long_name("fake-npu") == "FakeExecutionProvider"


def test_a_session_gets_the_first_device(install: Callable[..., FakeOnnxruntime]) -> None:
    """With the options of the plugin; without a device the error says so."""
    gpu, added = device(KINDS.GPU), []
    fake = install(gpu, device(KINDS.GPU))
    options = SimpleNamespace(add_provider_for_devices=lambda *given: added.append(given))
    add_device(options, "fake-npu", {"capture": "1"})
    assert added == [([gpu], {"capture": "1"})]
    fake.found, library._devices = [], {}
    with pytest.raises(RuntimeError, match="the library of provider fake-npu finds no device here"):
        add_device(options, "fake-npu", {})


def test_adapters_have_names(install: Callable[..., FakeOnnxruntime]) -> None:
    """The system's description, or vendor, kind and number; the processor is software."""
    install(device(KINDS.GPU, Description="Maker X 9000"), device(KINDS.GPU), device(KINDS.CPU))
    assert list(map(str, adapters("fake-npu"))) == [
        "Maker X 9000",
        "Maker GPU 0x2684",
        "Maker CPU 0x2684 (software)",
    ]


def test_adapters_of_webgpu_are_those_of_vulkan(
    install: Callable[..., FakeOnnxruntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """WebGPU's plugin chooses among them itself; without a Vulkan loader onnxruntime's devices are listed."""
    gpu = device(KINDS.GPU, "WebGpuExecutionProvider")
    install(gpu, package="onnxruntime_ep_webgpu")
    monkeypatch.setattr(vulkan, "adapters", lambda: [("Maker X", False), ("llvmpipe", True)])
    assert adapters("webgpu") == [Adapter("Maker X", software=False), Adapter("llvmpipe", software=True)]
    monkeypatch.setattr(vulkan, "adapters", list)
    assert adapters("webgpu") == [Adapter("Maker GPU 0x2684", software=False)]
    sys.modules.pop("onnxruntime_ep_webgpu", None)


@pytest.mark.parametrize("has_gpu", [True, False])
def test_software_is_allowed_without_a_gpu(
    install: Callable[..., FakeOnnxruntime], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, has_gpu: bool
) -> None:
    """The plugin's variable is set only if the system lists no GPU, and never changed."""
    monkeypatch.setattr(sys, "platform", "linux")
    variable = table.PLUGINS["webgpu"].software
    monkeypatch.delenv(variable, raising=False)
    if has_gpu:
        (tmp_path / "drm" / "renderD128").mkdir(parents=True)
    install(package="onnxruntime_ep_webgpu")
    devices("webgpu")
    assert (variable in os.environ) is not has_gpu
    monkeypatch.delenv(variable, raising=False)
    sys.modules.pop("onnxruntime_ep_webgpu", None)


def test_what_a_plugin_lacks_is_named(install: Callable[..., FakeOnnxruntime], monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime without the interface, and a package without the functions."""
    install(source="")
    with pytest.raises(RuntimeError, match="onnxruntime_ep_fake_npu must have a function get_library_path"):
        devices("fake-npu")
    monkeypatch.setattr(library, "onnxruntime", lambda: SimpleNamespace(__version__="1.23.2"))
    with pytest.raises(RuntimeError, match=r"onnxruntime must be 1\.24\.4 or later for plugins; got 1\.23\.2"):
        devices("fake-npu")
