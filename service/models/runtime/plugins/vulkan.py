"""The adapters that Vulkan's loader finds: names, which of them are the processor, and their memory."""

from __future__ import annotations

import ctypes
import sys
from contextlib import contextmanager
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_int32,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
    cast,
    pointer,
)
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

LOADER = "libvulkan.so.1"
BUDGET = "VK_EXT_memory_budget"
_INSTANCE_INFO, _APPLICATION_INFO, _MEMORY, _MEMORY_BUDGET = 1, 0, 1000059006, 1000237000  # VkStructureType
_VERSION_1_1 = 1 << 22 | 1 << 12
_KINDS = (2, 1, 3, 4, 0)  # VkPhysicalDeviceType: discrete, integrated, virtual, the processor, other
_SOFTWARE = 4
_LOCAL = 1  # VK_MEMORY_HEAP_DEVICE_LOCAL_BIT
_HEAPS, _MEMORY_TYPES = 16, 32
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


class _Extension(Structure):
    _fields_ = (("name", c_char * _NAME_BYTES), ("version", c_uint32))


class _Heap(Structure):
    _fields_ = (("size", c_uint64), ("flags", c_uint32))


class _Memory(Structure):
    """VkPhysicalDeviceMemoryProperties2."""

    _fields_ = (
        ("type", c_int32),
        ("next", c_void_p),
        ("type_count", c_uint32),
        ("types", c_uint32 * (2 * _MEMORY_TYPES)),
        ("heap_count", c_uint32),
        ("heaps", _Heap * _HEAPS),
    )


class _Budget(Structure):
    """VkPhysicalDeviceMemoryBudgetPropertiesEXT."""

    _fields_ = (
        ("type", c_int32),
        ("next", c_void_p),
        ("budget", c_uint64 * _HEAPS),
        ("usage", c_uint64 * _HEAPS),
    )


class Memory(NamedTuple):
    """The bytes of an adapter's own memory, and those that this process can still allocate of it."""

    total: int
    free: int


def adapters() -> list[tuple[str, bool]]:
    """Return each adapter's name and whether it is software; none on other systems than Linux or without Vulkan."""
    with _devices() as devices:
        found = [_properties(*device) for device in devices]
    return [(each.name.decode(errors="replace"), each.kind == _SOFTWARE) for each in found]


def memory() -> Memory | None:
    """Return the memory of the fastest kind of adapter; None where Vulkan does not tell what is free.

    A discrete adapter precedes an integrated one, and both precede the processor.
    """
    with _devices() as devices:
        ranked = sorted(devices, key=lambda device: _KINDS.index(_properties(*device).kind))
        return _memory(*ranked[0]) if ranked else None


@contextmanager
def _devices() -> Iterator[list[tuple[ctypes.CDLL, int | None]]]:
    """Yield Vulkan's loader with the handle of each adapter, which are valid inside the block."""
    loader, instance = _instance()
    if loader is None or instance is None:
        yield []
        return
    try:
        yield [(loader, handle) for handle in _handles(loader, instance)]
    finally:
        loader.vkDestroyInstance(instance, None)


def _instance() -> tuple[ctypes.CDLL | None, c_void_p | None]:
    if sys.platform != "linux":
        return None, None
    try:
        loader = ctypes.CDLL(LOADER)
    except OSError:
        return None, None
    application = _Application(type=_APPLICATION_INFO, api_version=_VERSION_1_1)
    info = _Instance(type=_INSTANCE_INFO, application=pointer(application))
    instance = c_void_p()
    failed = loader.vkCreateInstance(byref(info), None, byref(instance))
    return loader, None if failed else instance


def _handles(loader: ctypes.CDLL, instance: c_void_p) -> list[int | None]:
    count = c_uint32()
    if loader.vkEnumeratePhysicalDevices(instance, byref(count), None):
        return []
    handles = (c_void_p * count.value)()
    if loader.vkEnumeratePhysicalDevices(instance, byref(count), handles):
        return []
    return list(handles)


def _properties(loader: ctypes.CDLL, handle: int | None) -> _Properties:
    found = _Properties()
    loader.vkGetPhysicalDeviceProperties(c_void_p(handle), byref(found))
    return found


def _memory(loader: ctypes.CDLL, handle: int | None) -> Memory | None:
    if BUDGET not in _extensions(loader, handle):
        return None
    budget = _Budget(type=_MEMORY_BUDGET)
    found = _Memory(type=_MEMORY, next=cast(pointer(budget), c_void_p))
    loader.vkGetPhysicalDeviceMemoryProperties2(c_void_p(handle), byref(found))
    heaps = [
        Memory(found.heaps[index].size, max(0, budget.budget[index] - budget.usage[index]))
        for index in range(found.heap_count)
        if found.heaps[index].flags & _LOCAL
    ]
    return max(heaps, default=None)


def _extensions(loader: ctypes.CDLL, handle: int | None) -> set[str]:
    count = c_uint32()
    loader.vkEnumerateDeviceExtensionProperties(c_void_p(handle), None, byref(count), None)
    found = (_Extension * count.value)()
    loader.vkEnumerateDeviceExtensionProperties(c_void_p(handle), None, byref(count), found)
    return {each.name.decode(errors="replace") for each in found}
