"""Vulkan's adapters: with a fake loader their names and kinds, and without a loader none."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import pytest

from tintype.service.models.runtime.plugins import vulkan

ADAPTERS = {12: (b"llvmpipe (LLVM 15)", 4), 11: (b"Maker X", 2)}  # handle -> name and VkPhysicalDeviceType
HEAPS = {11: ((16, 0, 16, 0), (8, 1, 6, 2)), 12: ((32, 1, 32, 1),)}  # size, flags, budget and usage of each heap


class FakeLoader:
    """libvulkan with ADAPTERS; `result` is what creating an instance returns."""

    def __init__(self, result: int = 0, extensions: tuple[bytes, ...] = (b"VK_EXT_memory_budget",)) -> None:
        self.result, self.extensions = result, extensions
        self.destroyed = 0

    def vkCreateInstance(self, info: Any, _: None, instance: Any) -> int:  # noqa: N802
        assert info._obj.application.contents.api_version >> 22 == 1
        instance._obj.value = 7
        return self.result

    def vkDestroyInstance(self, instance: Any, _: None) -> None:  # noqa: N802
        assert instance.value == 7
        self.destroyed += 1

    def vkEnumeratePhysicalDevices(self, _: Any, number: Any, handles: Any) -> int:  # noqa: N802
        number._obj.value = len(ADAPTERS)
        for index, handle in enumerate(ADAPTERS if handles is not None else ()):
            handles[index] = handle
        return 0

    def vkGetPhysicalDeviceProperties(self, handle: Any, found: Any) -> None:  # noqa: N802
        found._obj.name, found._obj.kind = ADAPTERS[handle.value]

    def vkEnumerateDeviceExtensionProperties(self, _: Any, __: None, number: Any, found: Any) -> int:  # noqa: N802
        number._obj.value = len(self.extensions)
        for index, name in enumerate(self.extensions if found is not None else ()):
            found[index].name = name
        return 0

    def vkGetPhysicalDeviceMemoryProperties2(self, handle: Any, found: Any) -> None:  # noqa: N802
        memory = found._obj
        budget = ctypes.cast(memory.next, ctypes.POINTER(vulkan._Budget)).contents
        memory.heap_count = len(HEAPS[handle.value])
        for index, (size, flags, allowed, used) in enumerate(HEAPS[handle.value]):
            memory.heaps[index].size, memory.heaps[index].flags = size, flags
            budget.budget[index], budget.usage[index] = allowed, used


@pytest.fixture(autouse=True)
def _linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")


def test_adapters_have_names_and_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only adapters of the kind CPU are software; the instance is destroyed."""
    loader = FakeLoader()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: loader)
    assert vulkan.adapters() == [("llvmpipe (LLVM 15)", True), ("Maker X", False)]
    assert loader.destroyed == 1


def test_memory_is_that_of_the_fastest_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own memory, not the host's; without Vulkan's extension nothing is known."""
    loader = FakeLoader()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: loader)
    assert vulkan.memory() == (8, 4)
    assert loader.destroyed == 1
    monkeypatch.setattr(ctypes, "CDLL", lambda _: FakeLoader(extensions=(b"VK_KHR_maintenance1",)))
    assert vulkan.memory() is None


def test_a_loader_without_drivers_has_no_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """VK_ERROR_INCOMPATIBLE_DRIVER is not an error here."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: FakeLoader(-9))
    assert vulkan.adapters() == []
    assert vulkan.memory() is None


def test_without_a_loader_there_are_no_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without Vulkan, and on others than Linux."""
    monkeypatch.setattr(vulkan, "LOADER", "libtintype-no-such-library.so")
    assert vulkan.adapters() == []
    monkeypatch.setattr(sys, "platform", "darwin")
    assert vulkan.adapters() == []
