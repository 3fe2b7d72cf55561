"""The adapters that Vulkan's loader finds: names, and which of them are the processor."""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_int32, c_uint8, c_uint32, c_void_p

LOADER = "libvulkan.so.1"
_INSTANCE_INFO, _APPLICATION_INFO = 1, 0  # VkStructureType
_VERSION_1_1 = 1 << 22 | 1 << 12
_SOFTWARE = 4  # VK_PHYSICAL_DEVICE_TYPE_CPU
_NAME_BYTES, _REST_BYTES = 256, 4096  # VkPhysicalDeviceProperties has fewer than 1,000 bytes after the name


class _Application(Structure):
    _fields_ = (
        ("type", c_int32),
        ("next", c_void_p),
        ("name", c_char_p),
        ("version", c_uint32),
        ("engine", c_char_p),
        ("engine_version", c_uint32),
        ("api_version", c_uint32),
    )


class _Instance(Structure):
    _fields_ = (
        ("type", c_int32),
        ("next", c_void_p),
        ("flags", c_uint32),
        ("application", POINTER(_Application)),
        ("layer_count", c_uint32),
        ("layers", c_void_p),
        ("extension_count", c_uint32),
        ("extensions", c_void_p),
    )


class _Properties(Structure):
    _fields_ = (
        ("api_version", c_uint32),
        ("driver_version", c_uint32),
        ("vendor", c_uint32),
        ("device", c_uint32),
        ("kind", c_int32),
        ("name", c_char * _NAME_BYTES),
        ("rest", c_uint8 * _REST_BYTES),
    )


def adapters() -> list[tuple[str, bool]]:
    """Return each adapter's name and whether it is software; none on other systems than Linux or without Vulkan."""
    if sys.platform != "linux":
        return []
    try:
        loader = ctypes.CDLL(LOADER)
    except OSError:
        return []
    application = _Application(type=_APPLICATION_INFO, api_version=_VERSION_1_1)
    info = _Instance(type=_INSTANCE_INFO, application=ctypes.pointer(application))
    instance = c_void_p()
    if loader.vkCreateInstance(byref(info), None, byref(instance)):
        return []
    try:
        return [_properties(loader, handle) for handle in _handles(loader, instance)]
    finally:
        loader.vkDestroyInstance(instance, None)


def _handles(loader: ctypes.CDLL, instance: c_void_p) -> list[int | None]:
    count = c_uint32()
    if loader.vkEnumeratePhysicalDevices(instance, byref(count), None):
        return []
    handles = (c_void_p * count.value)()
    if loader.vkEnumeratePhysicalDevices(instance, byref(count), handles):
        return []
    return list(handles)


def _properties(loader: ctypes.CDLL, handle: int | None) -> tuple[str, bool]:
    found = _Properties()
    loader.vkGetPhysicalDeviceProperties(c_void_p(handle), byref(found))
    return found.name.decode(errors="replace"), found.kind == _SOFTWARE
