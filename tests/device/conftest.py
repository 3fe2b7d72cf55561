"""Tests on a device provider: `make test-device` runs them on WebGPU with a Vulkan driver, in software if need be.

TINTYPE_TEST_PROVIDER is the provider. Without one that works here the tests are skipped.
"""

from __future__ import annotations

import os

import pytest

from tintype.service.models.runtime.providers import available, run_probe

PROVIDER = os.environ.get("TINTYPE_TEST_PROVIDER", "webgpu")
REQUIRED = os.environ.get("TINTYPE_TEST_DEVICE") == "required"  # .ci/test-device has found a driver


@pytest.fixture(scope="session")
def provider() -> str:
    """Return the provider's short name; skip the test, or fail if a device is REQUIRED, if it does not work here."""
    absent = PROVIDER not in available()
    problem = "it is not installed" if absent else run_probe(PROVIDER).problem
    if problem:
        (pytest.fail if REQUIRED else pytest.skip)(f"provider {PROVIDER} does not work here: {problem}")
    return PROVIDER


@pytest.fixture(autouse=True)
def _device(provider: str) -> None:
    """Skip every test without the provider."""
