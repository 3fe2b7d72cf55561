"""Whether the device of WebGPU has memory left.

The plugin 0.4.0 does not report an allocation that fails: onnxruntime logs `WebGPU device error(3)`, the commands that
need the buffer are dropped, and the call returns wrong values. So the device's free memory, which Vulkan tells, is
compared with the weights before a graph is loaded, and with a reserve after the first call of each shape, when the
plugin has allocated all buffers of that shape, which it keeps. An allocation that failed was larger than what is free
afterwards, and the reserve is as large as the largest buffers of a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..graph import shape_of
from . import vulkan
from .table import installed

if TYPE_CHECKING:
    from collections.abc import Mapping

RESERVE = 256 * 2**20  # bytes; a VAE's tensor [1, 128, 1024, 1024] in half precision
SHARE = 16  # of a device's memory; larger devices make larger images


class LowMemory(MemoryError):
    """The device has so little memory left that results may be wrong."""


def check_room(provider: str, needed: int, label: str) -> None:
    """Raise LowMemory if the device of a plugin has less than `needed` bytes left."""
    memory = _memory(provider)
    if memory and memory.free < needed:
        raise LowMemory(f"out of memory: {label} has {needed} bytes of weights; {memory.free} are free on the device")


class ShapeCheck:
    """Checks the device's free memory after the first call of each shape."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._checked: set[tuple[tuple[int, ...], ...]] = set()

    def check(self, feeds: Mapping[str, Any]) -> None:
        """Raise LowMemory if a new shape leaves less than the reserve."""
        shape = tuple(map(shape_of, feeds.values()))
        if shape in self._checked:
            return
        memory = _memory(self._provider)
        if memory and memory.free < max(RESERVE, memory.total // SHARE):
            raise LowMemory(f"out of memory: a call left {memory.free} bytes free of {memory.total} on the device")
        self._checked.add(shape)


def _memory(provider: str) -> vulkan.Memory | None:
    """Return the memory of a plugin's device; None if the plugin reports its own errors, or nothing is known."""
    plugin = installed().get(provider)
    return vulkan.memory() if plugin and plugin.device == "webgpu" else None
