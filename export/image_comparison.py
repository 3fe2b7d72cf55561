"""The same picture twice: by the service's own engine, and by diffusers. What a seed gives must not depend on which.

Both take a `Job`; picture k of it has seed `seed + k`, and both return pixels [count, 3, height, width], float32 in
0..1. Which sampler diffusers uses is the pipeline's own affair: exchange its `scheduler`.
"""

from __future__ import annotations

from inspect import signature
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from PIL import Image

from tintype.service.engine.engine import Engine
from tintype.service.engine.events import Failed, Finished
from tintype.service.models import Repository
from tintype.service.prepare import prepared

from .quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tintype.service.job import Job
    from tintype.service.models import ModelSpec

    Pixels = npt.NDArray[np.float32]


class Studio:
    """The service's engine over the models in `folders`, in this process and without a server; a context manager."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._repository = Repository(folders, providers=("cpu",))
        self._engine = Engine(self._repository)

    @property
    def spec(self) -> ModelSpec:
        """What the first model is."""
        return self._repository.spec()

    def draw(self, job: Job) -> Pixels:
        """Draw all pictures of `job`. Raises what the engine says is wrong, a TintypeError."""
        self._repository.wait(job.model)
        self._engine.admit(prepared(job, self._repository.spec(job.model)))
        while self._engine.busy:
            self._engine.step()
        pixels: dict[int, Pixels] = {}
        for _, event in self._engine.collect():
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Finished):
                pixels[event.index] = event.pixels
        return np.stack([pixels[index] for index in sorted(pixels)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._repository.close()


def by_diffusers(pipeline: Any, job: Job, **settings: Any) -> Pixels:
    """Draw all pictures of `job`, which must have a seed, with a diffusers pipeline.

    It is called with those of `settings`, too, that it knows.
    """
    if job.seed is None:
        raise ValueError("seed must be set: a picture of a random one can't be drawn twice")
    named = {
        "num_inference_steps": job.steps,
        "guidance_scale": job.guidance_scale,
        "width": job.width,
        "height": job.height,
        "eta": job.eta,
        "negative_prompt": job.negative_prompt or None,
        "image": _opened(job.image),
        "mask_image": _opened(job.mask),
        "strength": job.strength,
    }
    known = signature(type(pipeline).__call__).parameters
    pipeline.set_progress_bar_config(disable=True)
    with quiet(), torch.no_grad():
        images = pipeline(
            job.prompt,
            num_images_per_prompt=job.count,
            generator=[torch.Generator("cpu").manual_seed(job.seed + k) for k in range(job.count)],
            output_type="np",
            **{name: value for name, value in named.items() if value is not None and name in known},
            **{name: value for name, value in settings.items() if name in known},
        ).images
    return np.moveaxis(images, -1, 1)


def _opened(file: bytes) -> Image.Image | None:
    return Image.open(BytesIO(file)) if file else None
