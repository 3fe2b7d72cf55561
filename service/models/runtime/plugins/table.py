"""Plugin providers: rows for the known ones, and all installed packages that follow onnxruntime's convention.

By the convention the package `onnxruntime_ep_NAME` has the functions `get_library_path` and `get_ep_names`, and the
provider is called NAME here, with `-` for `_`. A row adds what the package does not say.
"""

from __future__ import annotations

import pkgutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PREFIX = "onnxruntime_ep_"
DRM = Path("/sys/class/drm")  # Linux lists its GPUs here


@dataclass(frozen=True, slots=True)
class Plugin:
    """A provider in the library of a Python package.

    `long_name` is onnxruntime's name, empty if only the package knows it. `device` is onnxruntime's name of the
    device for values that stay there between calls; without it arrays go to the device and back at each call. `capture`
    is the option that captures calls, `cpu_nodes` the option that names nodes to run on the CPU, `software` the
    variable that allows adapters without a GPU. `no_adapter` is the plugin's text for a missing driver. `extra`
    installs it.
    """

    package: str
    long_name: str = ""
    device: str = ""
    capture: str = ""
    cpu_nodes: str = ""
    software: str = ""
    no_adapter: str = ""
    extra: str = ""


PLUGINS = {
    "tensorrt-rtx": Plugin(
        "onnxruntime_ep_nv_tensorrt_rtx", "NvTensorRTRTXExecutionProvider", extra="tensorrt-rtx"
    ),  # not run here: no `device`, no `capture`
    "webgpu": Plugin(
        "onnxruntime_ep_webgpu",
        "WebGpuExecutionProvider",
        device="webgpu",
        capture="enableGraphCapture",
        cpu_nodes="forceCpuNodeNames",
        software="ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER",
        no_adapter="No supported adapters",
        extra="webgpu",
    ),
    "qnn": Plugin("onnxruntime_qnn", "QNNExecutionProvider"),
    "ggml": Plugin("onnxruntime_ggml", "ggml"),
}
"""Known plugins, in the order in which one is chosen automatically."""

NOT_PLUGINS = ("openvino",)  # runs in the package `openvino`, without onnxruntime


@cache
def installed() -> dict[str, Plugin]:
    """Return the installed plugins by short name, the known ones first, without importing their packages."""
    packages = {module.name for module in pkgutil.iter_modules() if module.name.startswith("onnxruntime_")}
    found = {name: plugin for name, plugin in PLUGINS.items() if plugin.package in packages}
    known = {plugin.package for plugin in PLUGINS.values()}
    others = sorted(package for package in packages - known if package.startswith(PREFIX))
    names = {package.removeprefix(PREFIX).replace("_", "-"): package for package in others}
    return found | {name: Plugin(package) for name, package in names.items() if name not in NOT_PLUGINS}


def has_gpu() -> bool:
    """Return whether there may be a GPU; cheap, whereas loading a plugin starts its driver."""
    return sys.platform != "linux" or any(DRM.glob("renderD*"))
