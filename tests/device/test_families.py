"""Whole images of exported pipelines in half precision, on the device and in float32 on the CPU.

TINTYPE_TEST_EXPORTS is a folder with an export of each family, which `make device-models` writes.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.pixels import in_floats
from tintype.service.engine import Engine
from tintype.service.engine.events import Failed, Finished
from tintype.service.job import Job
from tintype.service.models import Repository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EXPORTS = Path(os.environ.get("TINTYPE_TEST_EXPORTS", "build/device-models"))
FAMILIES = sorted(path.name for path in EXPORTS.glob("*") if (path / "tintype.json").exists())
MEAN = 4 / 255  # random weights and guidance multiply the rounding; llvmpipe showed 1.5 of 255
UNLIKE = 2.0  # times the difference that an image of another seed must have at least
GUIDANCE = 2.0  # higher scales multiply the rounding of float16


@cache
def images(family: str, provider: str) -> np.ndarray:
    """Return two images of a family, of two seeds."""
    with Repository([EXPORTS / family], providers=[provider]) as repository:
        spec = repository.wait(timeout=600).spec
        assert spec.provider == provider
        engine = Engine(repository)
        fields: dict[str, Any] = {"guidance_scale": min(GUIDANCE, spec.defaults.guidance_scale)}
        for seed in (1, 2):
            engine.admit(Job(prompt="a red circle", seed=seed, steps=2, width=128, height=128, **fields))
        while engine.step():
            pass
        events = [event for _, event in engine.collect()]
    assert [event.error for event in events if isinstance(event, Failed)] == []
    found = {event.seed: event.pixels for event in events if isinstance(event, Finished)}
    return np.stack([in_floats(found[1]), in_floats(found[2])])


@pytest.mark.parametrize("family", FAMILIES)
def test_images_in_half_precision_equal_those_of_the_cpu(family: str, provider: str) -> None:
    """Text encoders, denoiser and VAE; images of two seeds in one batch, each unlike the other."""
    found, expected = images(family, provider), images(family, "cpu")
    difference = np.abs(found - expected).mean()
    assert difference <= MEAN
    assert np.abs(expected[0] - expected[1]).mean() >= UNLIKE * difference


@pytest.mark.skipif(bool(FAMILIES), reason="there are exports")
def test_exports() -> None:
    """Without exports the reason is in the report."""
    pytest.skip(f"{EXPORTS} has no exports: make device-models")
