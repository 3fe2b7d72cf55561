"""Uploads on their way to the engine: which size is answered, and in which size the model gets them."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tintype.service.engine.sizes import native_size
from tintype.service.errors import InvalidField
from tintype.service.job import Job
from tintype.service.prepare import prepared

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


def test_without_a_picture_nothing_happens(spec: ModelSpec) -> None:
    """The job is the one that came."""
    job = Job(prompt="a")
    assert prepared(job, spec) is job


@pytest.mark.parametrize(
    ("picture", "asked", "answered"),
    [
        ((64, 64), {}, (64, 64)),
        ((90, 66), {}, (90, 66)),
        ((640, 480), {}, (640, 480)),
        ((640, 320), {"width": 96}, (96, 48)),  # what is not asked follows from the shape
        ((640, 320), {"height": 64}, (128, 64)),
        ((640, 320), {"width": 64, "height": 64}, (64, 64)),
        ((8, 4), {}, (32, 16)),  # no smaller than may be asked for
        ((8000, 1000), {}, (4096, 512)),  # and no larger
        ((8000, 16), {}, (4096, 16)),
        ((1000, 50), {"height": 4096}, (4096, 4096)),
    ],
)
def test_the_size_is_the_pictures_own(
    spec: ModelSpec, picture: tuple[int, int], asked: dict[str, Any], answered: tuple[int, int]
) -> None:
    """Unless another is asked for; the model gets it in the size that it makes for that."""
    width, height = native_size(*answered, spec)
    job = prepared(Job(prompt="a", image=file(*picture), mask=file(*picture, WHITE), **asked), spec)
    assert (job.width, job.height) == answered
    assert job.source is not None
    assert job.source.levels.shape == (3, height, width)
    assert job.source.repaint is not None
    assert job.source.repaint.shape == (height, width)
    assert np.abs(job.source.pixels.mean((1, 2)) * 255 - (200, 100, 50)).max() < 1


def test_what_is_wrong_with_a_file_is_told(spec: ModelSpec) -> None:
    """With the name of the field."""
    with pytest.raises(InvalidField, match="mask: must have the size of image"):
        prepared(Job(prompt="a", image=file(9, 9), mask=file(9, 8)), spec)
