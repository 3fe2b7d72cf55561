"""Preparation of a job: uploads decoded and resized, prompts parsed.

It happens before the engine takes the job. Both take CPU time in proportion to what the client sent, so they run in a
thread pool.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tintype.v1.limits import RANGES

from .engine.plan import read_prompts
from .engine.sizes import native_size
from .images.upload import Upload, source

if TYPE_CHECKING:
    from .job import Job
    from .models.spec import ModelSpec, Size


def prepared(job: Job, spec: ModelSpec) -> Job:
    """Return `job` with its `source` and `prompts`.

    A size that was left out is the image's own, or keeps its shape.

    Raises:
        InvalidField: `image` or `mask` can't be read, they do not go together, or the mask names nothing; the brackets
            of a weighted prompt can't be served.
    """
    if job.prompt_weighting:
        job = replace(job, prompts=read_prompts(job, spec))
    if not job.image:
        return job
    image, mask = Upload(job.image, job.mask).read()
    width, height = _size(job, image.size)
    return replace(job, width=width, height=height, source=source(image, mask, native_size(width, height, spec)))


def _size(job: Job, own: Size) -> Size:
    """Return the size to answer: what is asked, and of what is not, as much as keeps the picture's shape."""
    if job.width and job.height:
        return job.width, job.height
    scale = job.width / own[0] if job.width else job.height / own[1] if job.height else _scale(own)
    width, height = (_allowed(round(side * scale)) for side in own)
    return job.width or width, job.height or height


def _scale(own: Size) -> float:
    """Return by how much a picture must grow or shrink until both sides may be asked for, 1 if they may."""
    low, high = RANGES["width"]
    return min(max(1.0, low / min(own)), high / max(own))


def _allowed(side: int) -> int:
    low, high = RANGES["width"]
    return int(min(max(side, low), high))
