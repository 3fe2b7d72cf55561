"""What all tests share.

- Tests marked `gpu` run only where there is an NVIDIA GPU.
- Tests by hypothesis have no deadline: on a busy machine a single example may take seconds. HYPOTHESIS_PROFILE=fast,
  which `make test-fast` sets, tries fewer examples.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

import pytest

pytest.register_assert_rewrite("tests.support")

with suppress(ImportError):  # the wheel's tests use no hypothesis
    from hypothesis import HealthCheck, settings

    settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("fast", settings.get_profile("default"), max_examples=10)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


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
