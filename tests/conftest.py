"""What all tests share: tests marked `gpu` run only where there is an NVIDIA GPU."""

from __future__ import annotations

import ctypes
import sys

import pytest


def has_gpu() -> bool:
    """Whether the driver has a device, in a container and under WSL as well."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return driver.cuInit(0) == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine has no GPU for."""
    if has_gpu():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))
