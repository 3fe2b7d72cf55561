"""A device without spare memory ends a call or the loading of a graph, because WebGPU's plugin computes on."""

from __future__ import annotations

import numpy as np
import pytest

from tintype.service.models.runtime.graph import is_out_of_memory
from tintype.service.models.runtime.plugins import spare_memory, table, vulkan
from tintype.service.models.runtime.plugins.spare_memory import RESERVE, LowMemory, ShapeCheck, check_room
from tintype.service.models.runtime.plugins.vulkan import Memory

FEEDS = {"x": np.zeros((1, 2)), "t": np.zeros(1)}


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> list[Memory | None]:
    """Return what the device tells of its memory, the last one first."""
    found: list[Memory | None] = [Memory(2**32, 2**30)]
    monkeypatch.setattr(table, "installed", lambda: table.PLUGINS)
    monkeypatch.setattr(spare_memory, "installed", lambda: table.PLUGINS)
    monkeypatch.setattr(vulkan, "memory", lambda: found[-1])
    return found


def test_weights_must_fit(memory: list[Memory | None]) -> None:
    """On WebGPU, where the free memory is known; the error is one of memory and names both numbers."""
    check_room("webgpu", 2**30, "unet")
    with pytest.raises(LowMemory, match=r"unet has 1073741825 bytes of weights; 1073741824 are free") as caught:
        check_room("webgpu", 2**30 + 1, "unet")
    assert is_out_of_memory(caught.value)
    check_room("tensorrt-rtx", 2**40, "unet")
    memory.append(None)
    check_room("webgpu", 2**40, "unet")


def test_a_call_must_leave_the_reserve(memory: list[Memory | None]) -> None:
    """Each shape is checked until it passed once; later calls use the same buffers."""
    shapes = ShapeCheck("webgpu")
    memory.append(Memory(2**32, RESERVE - 1))
    for _ in range(2):
        with pytest.raises(LowMemory, match=f"a call left {RESERVE - 1} bytes free of 4294967296"):
            shapes.check(FEEDS)
    memory.append(Memory(2**32, RESERVE))
    shapes.check(FEEDS)
    memory.append(Memory(2**32, 0))
    shapes.check(FEEDS)
    with pytest.raises(LowMemory):
        shapes.check(FEEDS | {"t": np.zeros(2)})
    ShapeCheck("cpu").check(FEEDS)


def test_the_reserve_grows_with_the_device(memory: list[Memory | None]) -> None:
    """A large device makes larger images."""
    memory.append(Memory(2**35, 2**31 - 1))
    with pytest.raises(LowMemory):
        ShapeCheck("webgpu").check(FEEDS)
    memory.append(Memory(2**35, 2**31))
    ShapeCheck("webgpu").check(FEEDS)
