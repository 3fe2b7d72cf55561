"""Preparation of a job: decoding and resizing of uploads, parsing of weighted prompts.

It runs before the engine admits the job, in a thread pool, since its CPU time grows with the input.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tintype.v1.limits import RANGES

from .engine.plan import parse_prompts
from .engine.sizes import native_size
from .images.references import make_reference, read, result_size
from .images.upload import Upload, make_source

if TYPE_CHECKING:
    from .job import Job
    from .models.spec import ModelSpec, ReferenceRule, Size


def prepare_job(job: Job, spec: ModelSpec) -> Job:
    """Return `job` with its `source`, `edited` and `prompts`.

    Without a requested size the result has that of the image; an absent side follows from the image's aspect ratio.

    Raises:
        InvalidField: `image`, `mask` or one of `references` is unreadable or has a wrong size, the mask repaints
            nothing, or the brackets of a weighted prompt are not supported.
    """
    if job.prompt_weighting:
        job = replace(job, prompts=parse_prompts(job, spec))
    if job.references and spec.references:
        job = _with_references(job, spec.references)
    if not job.image:
        return job
    image, mask = Upload(job.image, job.mask).read()
    width, height = _size(job, image.size)
    return replace(job, width=width, height=height, source=make_source(image, mask, native_size(width, height, spec)))


def _with_references(job: Job, rule: ReferenceRule) -> Job:
    """Return a job with its images to edit; without a requested size the result has the shape of the first one."""
    names = [f"references[{i}]" for i in range(min(len(job.references), rule.most))]
    edited = [make_reference(read(data, name), rule, name) for data, name in zip(job.references, names, strict=False)]
    if job.width or job.height or job.image:
        return replace(job, edited=tuple(edited))
    width, height = result_size(edited[0])
    return replace(job, edited=tuple(edited), width=width, height=height)


def _size(job: Job, own: Size) -> Size:
    """Return the size of the result: the requested sides; absent ones keep the image's aspect ratio."""
    if job.width and job.height:
        return job.width, job.height
    scale = job.width / own[0] if job.width else job.height / own[1] if job.height else _scale(own)
    width, height = (_clamp(round(side * scale)) for side in own)
    return job.width or width, job.height or height


def _scale(own: Size) -> float:
    """Return the factor that brings both sides of an image into the allowed range, 1 if they are in it."""
    low, high = RANGES["width"]
    return min(max(1.0, low / min(own)), high / max(own))


def _clamp(side: int) -> int:
    low, high = RANGES["width"]
    return int(min(max(side, low), high))
