"""What all tests share: tests marked `gpu` run only where there is an NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

NVIDIA = Path("/proc/driver/nvidia/version")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine has no GPU for."""
    if NVIDIA.exists():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))
