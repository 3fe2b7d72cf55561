"""The libraries of plugin providers: registration, devices, and session options that name a device.

A session runs on a plugin only if a device is added to its options. onnxruntime also accepts the plugin's name in
`providers=[...]`, but drops it without an error, and the session runs on the CPU.
"""

from __future__ import annotations

import os
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from ..providers import onnxruntime
from . import vulkan
from .table import has_gpu, installed

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDEST = "1.24.4"  # of onnxruntime, for WebGPU's plugin
_devices: dict[str, list[Any]] = {}
_lock = Lock()


class Adapter(NamedTuple):
    """A device that a plugin computes on; a `software` one is the processor."""

    name: str
    software: bool

    def __str__(self) -> str:
        """Return the name, with a mark for software."""
        return f"{self.name} (software)" if self.software else self.name


def devices(name: str) -> list[Any]:
    """Return onnxruntime's devices for a plugin, the processor last; load its library at the first call.

    Raises:
        RuntimeError: this onnxruntime has no plugin interface.
        Exception: any error of the package or its library.
    """
    with _lock:
        if name not in _devices:
            _devices[name] = _register(name)
        return _devices[name]


def _register(name: str) -> list[Any]:
    ort, plugin = onnxruntime(), installed()[name]
    if not hasattr(ort, "register_execution_provider_library"):
        raise RuntimeError(f"onnxruntime must be {OLDEST} or later for plugins; got {ort.__version__}")
    if plugin.software and not has_gpu():
        os.environ.setdefault(plugin.software, "1")  # without a GPU the provider was named, or it is not used at all
    package = import_module(plugin.package)
    ort.register_execution_provider_library(name, str(_call(package, "get_library_path", "library_path")))
    names = (plugin.long_name or _long_name(package),)
    found = [device for device in ort.get_ep_devices() if device.ep_name in names]
    return sorted(found, key=_is_processor)


def long_name(name: str) -> str:
    """Return onnxruntime's name of a plugin."""
    plugin = installed()[name]
    return plugin.long_name or _long_name(import_module(plugin.package))


def _long_name(package: Any) -> str:
    return str(_call(package, "get_ep_name", "ep_name"))


def _call(package: Any, *functions: str) -> Any:
    """Return the result of the first function that the package has."""
    for function in functions:
        if hasattr(package, function):
            return getattr(package, function)()
    raise RuntimeError(f"{package.__name__} must have a function {functions[0]}")


def add_device(options: Any, name: str, entries: Mapping[str, str]) -> None:
    """Add a plugin's first device, and its options, to the options of a session.

    Raises:
        RuntimeError: the plugin offers no device.
    """
    found = devices(name)
    if not found:
        raise RuntimeError(f"the library of provider {name} finds no device here")
    options.add_provider_for_devices(found[:1], dict(entries))


def adapters(name: str) -> list[Adapter]:
    """Return what a plugin may compute on; WebGPU chooses the adapter itself, on Linux among those of Vulkan."""
    found = devices(name)
    if found and installed()[name].device == "webgpu" and (listed := vulkan.adapters()):
        return [Adapter(*each) for each in listed]
    return [Adapter(_describe(device.device), _is_processor(device)) for device in found]


def _is_processor(device: Any) -> bool:
    return bool(device.device.type == onnxruntime().OrtHardwareDeviceType.CPU)


def _describe(device: Any) -> str:
    """Return a device's description, which Windows has, or its vendor, kind and number."""
    description = dict(device.metadata).get("Description")
    return description or f"{device.vendor} {device.type.name} {device.device_id:#06x}".strip()
