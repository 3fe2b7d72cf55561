"""Half-precision exports on a GPU generate the images of float32 on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tintype.service.engine import Engine
from tintype.service.engine.events import Finished
from tintype.service.images.pixels import to_floats
from tintype.service.job import Job
from tintype.service.models import Repository
from tintype.service.models.runtime.provider_options import DEFAULTS, ProviderOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.gpu]

MEAN = 3 / 255  # half precision over four steps; an expectation
FAMILIES = ("sd15", "sdxl", "sd3", "flux_schnell", "sana")


def image(folder: Path, provider: str, options: ProviderOptions = DEFAULTS) -> np.ndarray:
    with Repository([folder], providers=[provider], options=options) as repository:
        repository.wait(timeout=250)
        engine = Engine(repository)
        for _ in range(2):  # the second one reuses buffers
            engine.admit(Job(prompt="a red circle", seed=1, steps=4, width=128, height=128))
            while engine.step():
                pass
            found = [to_floats(event.pixels) for _, event in engine.collect() if isinstance(event, Finished)]
        return found[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("graphs", [False, True], ids=["plain", "graphs"])
def test_half_precision_generates_the_same_image(exported: Callable[..., Path], family: str, *, graphs: bool) -> None:
    """With and without CUDA graphs; a family that cannot be captured runs without them."""
    half, single = exported(family, "fp16", "--target", "gpu"), exported(family)
    assert np.abs(image(half, "cuda", ProviderOptions(cuda_graphs=graphs)) - image(single, "cpu")).mean() <= MEAN
