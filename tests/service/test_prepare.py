"""Uploads of a job: the size of the result, and the size in which the model gets them."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tintype.service.capabilities import check_supported
from tintype.service.engine.sizes import native_size
from tintype.service.errors import InvalidField
from tintype.service.job import Job
from tintype.service.models.spec import IMAGE_TO_IMAGE, INPAINTING, ReferenceFit, ReferenceRule
from tintype.service.prepare import prepare_job

if TYPE_CHECKING:
    from tintype.service.models import ModelSpec

WHITE = (255, 255, 255)


def file(width: int, height: int, colour: tuple[int, int, int] = (200, 100, 50)) -> bytes:
    data = BytesIO()
    Image.new("RGB", (width, height), colour).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def spec(fake_repository: type) -> ModelSpec:
    """Return a model of 64x64 and 96x64 pixels, in multiples of 8."""
    return fake_repository().spec()


def test_job_without_an_upload_is_unchanged(spec: ModelSpec) -> None:
    """A job without an image is returned as it is."""
    job = Job(prompt="a")
    assert prepare_job(job, spec) is job


@pytest.mark.parametrize(
    ("upload", "requested", "result"),
    [
        ((64, 64), {}, (64, 64)),
        ((90, 66), {}, (90, 66)),
        ((640, 480), {}, (640, 480)),
        ((640, 320), {"width": 96}, (96, 48)),  # the other side follows from the aspect ratio
        ((640, 320), {"height": 64}, (128, 64)),
        ((640, 320), {"width": 64, "height": 64}, (64, 64)),
        ((8, 4), {}, (32, 16)),  # not smaller than a request may ask for
        ((8000, 1000), {}, (4096, 512)),  # and not larger
        ((8000, 16), {}, (4096, 16)),
        ((1000, 50), {"height": 4096}, (4096, 4096)),
    ],
)
def test_default_size_is_that_of_the_image(
    spec: ModelSpec, upload: tuple[int, int], requested: dict[str, Any], result: tuple[int, int]
) -> None:
    """The default size is that of the image; the model gets the image in the size that it generates."""
    width, height = native_size(*result, spec)
    job = prepare_job(Job(prompt="a", image=file(*upload), mask=file(*upload, WHITE), **requested), spec)
    assert (job.width, job.height) == result
    assert job.source is not None
    assert job.source.levels.shape == (3, height, width)
    assert job.source.repaint is not None
    assert job.source.repaint.shape == (height, width)
    assert np.abs(job.source.pixels.mean((1, 2)) * 255 - (200, 100, 50)).max() < 1


@pytest.mark.parametrize(
    ("requested", "result"),
    [
        ({}, (80, 64)),  # the first reference as the model reads it
        ({"width": 160}, (160, 128)),
        ({"height": 32}, (40, 32)),
        ({"width": 64, "height": 64}, (64, 64)),
        ({"image": (90, 60)}, (90, 60)),
    ],
)
def test_default_size_is_that_of_the_first_reference(
    spec: ModelSpec, requested: dict[str, Any], result: tuple[int, int]
) -> None:
    """Unless there is an image to start from; files of references are dropped when they are read."""
    spec = replace(spec, references=ReferenceRule(most=2, fit=ReferenceFit.FLUX2))
    requested = {key: file(*value) if key == "image" else value for key, value in requested.items()}
    job = prepare_job(Job(prompt="a", references=(file(90, 70), file(64, 64, WHITE)), **requested), spec)
    assert (job.width, job.height) == result
    assert [each.levels.shape for each in job.edited] == [(3, 64, 80), (3, 64, 64)]
    assert job.edited[1].levels.min() == 255
    assert job.references == ()


@pytest.mark.parametrize("source", [True, False])
def test_an_image_to_start_from_may_also_be_the_reference(spec: ModelSpec, source: bool) -> None:  # noqa: FBT001
    """If the model says so, and the request has no other reference; the size of the result is the image's."""
    spec = replace(spec, references=ReferenceRule(most=1, fit=ReferenceFit.FLUX2, source=source))
    job = prepare_job(Job(prompt="a", image=file(90, 70)), spec)
    assert (job.width, job.height, len(job.edited)) == (90, 70, source)
    other = prepare_job(Job(prompt="a", image=file(90, 70), references=(file(64, 64, WHITE),)), spec)
    assert [each.levels.shape for each in other.edited] == [(3, 64, 64)]


@pytest.mark.parametrize("masked", [True, False])
def test_an_image_with_a_mask_may_precede_the_references(spec: ModelSpec, masked: bool) -> None:  # noqa: FBT001
    """If the model says so, in the size in which it is generated; it does not count among the model's most."""
    rule = ReferenceRule(most=1, fit=ReferenceFit.FLUX2, masked=masked)
    spec = replace(spec, references=rule, capabilities=frozenset({INPAINTING}))
    files: dict[str, Any] = {"image": file(90, 70), "references": (file(128, 64, WHITE),)}
    job = prepare_job(Job(prompt="a", mask=file(90, 70, WHITE), **files), spec)
    assert job.source is not None
    own = [job.source.levels.shape] if masked else []
    assert [each.levels.shape for each in job.edited] == [*own, (3, 64, 128)]
    check_supported(job, spec)
    assert [each.levels.shape for each in prepare_job(Job(prompt="a", **files), spec).edited] == [(3, 64, 128)]


def test_a_model_that_only_edits_takes_references_without_an_image(spec: ModelSpec) -> None:
    """Before and after they are decoded; without them the error names them."""
    rule = ReferenceRule(most=1, fit=ReferenceFit.QWEN, required=True)
    spec = replace(spec, references=rule, capabilities=frozenset({IMAGE_TO_IMAGE}))
    job = Job(prompt="a", references=(file(64, 64),))
    check_supported(job, spec)
    check_supported(prepare_job(job, spec), spec)
    with pytest.raises(InvalidField, match="references: is required"):
        check_supported(Job(prompt="a"), spec)


def test_one_reference_too_many_is_refused_with_a_mask(spec: ModelSpec) -> None:
    """The message counts the references of the request."""
    rule = ReferenceRule(most=1, fit=ReferenceFit.FLUX2, masked=True)
    spec = replace(spec, references=rule, capabilities=frozenset({INPAINTING}))
    files = (file(64, 64), file(64, 64))
    job = prepare_job(Job(prompt="a", image=file(64, 64), mask=file(64, 64, WHITE), references=files), spec)
    with pytest.raises(InvalidField, match="takes at most 1, not 2"):
        check_supported(job, spec)


@pytest.mark.parametrize("most", [0, 1])
def test_references_that_the_model_does_not_take_are_not_read(spec: ModelSpec, most: int) -> None:
    """The engine refuses them by their number."""
    rule = ReferenceRule(most=most, fit=ReferenceFit.FLUX2) if most else None
    job = prepare_job(Job(prompt="a", references=(b"1", b"2")), replace(spec, references=rule))
    assert (job.references, job.edited) == ((b"1", b"2"), ())


def test_error_names_the_reference(spec: ModelSpec) -> None:
    """The error for an invalid reference names its place."""
    spec = replace(spec, references=ReferenceRule(most=2, fit=ReferenceFit.FLUX2))
    with pytest.raises(InvalidField, match=r"references\[1\]"):
        prepare_job(Job(prompt="a", references=(file(64, 64), b"text")), spec)


def test_error_names_the_upload(spec: ModelSpec) -> None:
    """The error for an invalid upload names its field."""
    with pytest.raises(InvalidField, match="mask: must have the size of image"):
        prepare_job(Job(prompt="a", image=file(9, 9), mask=file(9, 8)), spec)
