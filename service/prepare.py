"""Preparation of a job: decoding and resizing of uploads, parsing of weighted prompts.

It runs before the engine admits the job, in a thread pool, since its CPU time grows with the input.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tintype.v1.limits import RANGES

from .engine.plan import parse_prompts
from .engine.sizes import native_size
from .images.references import (
    clip_image,
    digest_of,
    levels_of,
    make_reference,
    read,
    result_size,
    source_reference,
    stretched,
)
from .images.upload import Upload, make_source
from .models.model import ImagePrompt

if TYPE_CHECKING:
    from PIL import Image

    from .job import Job
    from .models.model import Reference
    from .models.spec import ModelSpec, Size


def prepare_job(job: Job, spec: ModelSpec) -> Job:
    """Return `job` with all that is decoded from its files, and its `prompts`; the files of references are dropped.

    Without a requested size the result has that of the image, or of the first reference; an absent side follows from
    its aspect ratio.

    Raises:
        InvalidField: `image`, `mask` or one of `references` is unreadable or has a wrong size, the mask repaints
            nothing, or the brackets of a weighted prompt are not supported.
    """
    if job.prompt_weighting:
        job = replace(job, prompts=parse_prompts(job, spec))
    image, mask = Upload(job.image, job.mask).read() if job.image else (None, None)
    edited = _references(job, spec, image)
    if job.image_prompts:
        job = replace(job, resembled=_resembled(job))
    own = image.size if image else result_size(edited[0]) if edited else None
    if own is None:
        return _with_hints(job, spec)
    width, height = _size(job, own)
    source = make_source(image, mask, native_size(width, height, spec)) if image else None
    references = () if edited else job.references
    if source and mask and spec.references and spec.references.masked:
        edited = (source_reference(source.levels), *edited)
    sized = replace(job, width=width, height=height, source=source, edited=edited, references=references)
    return _with_hints(sized, spec)


def _with_hints(job: Job, spec: ModelSpec) -> Job:
    """Return a job with the images of its ControlNets, stretched to the size that the model generates."""
    if not job.controls:
        return job
    size = native_size(job.width or spec.defaults.width, job.height or spec.defaults.height, spec)
    images = (read(control.image, f"controls[{place}].image") for place, control in enumerate(job.controls))
    return replace(job, hints=tuple(levels_of(stretched(image, size)) for image in images))


def _resembled(job: Job) -> tuple[ImagePrompt, ...]:
    """Return the decoded image prompts of a job."""
    fields = [f"image_prompts[{place}].image" for place in range(len(job.image_prompts))]
    files = zip(job.image_prompts, fields, strict=True)
    images = [levels_of(clip_image(read(each.image, field))) for each, field in files]
    return tuple(
        ImagePrompt(each.name, levels, each.weight, digest_of(levels))
        for each, levels in zip(job.image_prompts, images, strict=True)
    )


def _references(job: Job, spec: ModelSpec, image: Image.Image | None) -> tuple[Reference, ...]:
    """Return the images to edit as the model reads them; none if there are too many, which the engine refuses."""
    rule = spec.references
    if rule is None or len(job.references) > rule.most:
        return ()
    if image and rule.source and not job.references:
        return (make_reference(image, rule, "image"),)
    fields = [f"references[{place}]" for place in range(len(job.references))]
    files = zip(job.references, fields, strict=True)
    return tuple(make_reference(read(data, field), rule, field) for data, field in files)


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
