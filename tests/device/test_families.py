"""Whole images of exported pipelines in half precision, on the device and in float32 on the CPU.

TINTYPE_TEST_EXPORTS is a folder with an export of each family, which `make device-models` writes.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.gateway.bodies import png
from tintype.service.engine import Engine
from tintype.service.engine.events import Failed, Finished
from tintype.service.images.pixels import to_floats
from tintype.service.job import Job
from tintype.service.models import Repository
from tintype.service.models.spec import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from tintype.service.prepare import prepare_job

if TYPE_CHECKING:
    from tintype.service.models.spec import ModelSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EXPORTS = Path(os.environ.get("TINTYPE_TEST_EXPORTS", "build/device-models"))
FAMILIES = sorted(path.name for path in EXPORTS.glob("*") if (path / "tintype.json").exists())
MEAN = 2 / 255  # random weights and guidance multiply the rounding; llvmpipe showed 1.22 of 255 at most
UNLIKE = 2.0  # times the difference that an image of another seed must have at least
SIDE = 128
GUIDANCE = 2.0  # higher scales multiply the rounding of float16


@cache
def images(family: str, provider: str) -> np.ndarray:
    """Return two images of a family, of two seeds."""
    with Repository([EXPORTS / family], providers=[provider]) as repository:
        spec = repository.wait(timeout=600).spec
        assert spec.provider == provider
        engine = Engine(repository)
        for seed in (1, 2):
            job = Job(prompt="a red circle", seed=seed, steps=2, width=SIDE, height=SIDE, **required(spec))
            engine.admit(prepare_job(job, spec))
        while engine.step():
            pass
        events = [event for _, event in engine.collect()]
    assert [event.error for event in events if isinstance(event, Failed)] == []
    found = {event.seed: event.pixels for event in events if isinstance(event, Finished)}
    return np.stack([to_floats(found[1]), to_floats(found[2])])


def required(spec: ModelSpec) -> dict[str, Any]:
    """Return a guidance scale, and the input image of a model that draws nothing from text alone."""
    fields: dict[str, Any] = {"guidance_scale": min(GUIDANCE, spec.defaults.guidance_scale)}
    if spec.references:
        return fields | {"references": (png(SIDE, SIDE),)}
    if TEXT_TO_IMAGE in spec.capabilities:
        return fields
    mask = {} if IMAGE_TO_IMAGE in spec.capabilities else {"mask": png(SIDE, SIDE, colour="white")}
    return fields | {"image": png(SIDE, SIDE)} | mask


@pytest.mark.parametrize("family", FAMILIES)
def test_images_in_half_precision_equal_those_of_the_cpu(family: str, provider: str) -> None:
    """Text encoders, denoiser and VAE; images of two seeds in one batch, each unlike the other."""
    found, expected = images(family, provider), images(family, "cpu")
    difference = np.abs(found - expected).mean()
    print(f"{family}: {difference * 255:.2f} of 255 on average, {np.abs(found - expected).max() * 255:.1f} at most")  # noqa: T201 - `-s` shows the figures of docs/gpu.md
    assert difference <= MEAN
    assert np.abs(expected[0] - expected[1]).mean() >= UNLIKE * difference


@pytest.mark.skipif(bool(FAMILIES), reason="there are exports")
def test_exports() -> None:
    """Without exports the reason is in the report."""
    pytest.skip(f"{EXPORTS} has no exports: make device-models")
