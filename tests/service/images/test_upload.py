"""Uploads: what a mask means, what of a picture the model gets, and what of it stays in the result."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tintype.service.errors import InvalidField
from tintype.service.images.encode import Output, encode
from tintype.service.images.upload import Upload, source

LEVELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
RIGHT = np.zeros((24, 32), np.uint8)
RIGHT[:, 20:] = 255  # repainted


def file(image: Any, kind: str = "PNG") -> bytes:
    """Return an image, or levels, as the bytes of a file."""
    data = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(data, kind)
    return data.getvalue()


def transparent(alpha: np.ndarray, levels: np.ndarray = LEVELS) -> bytes:
    """Return a file whose transparency is 255 - alpha."""
    image = Image.fromarray(levels)
    image.putalpha(Image.fromarray(alpha))
    return file(image)


@pytest.mark.parametrize(
    "mask",
    [
        file(RIGHT),
        file(Image.fromarray(RIGHT).convert("RGB")),
        file(Image.fromarray(RIGHT).convert("1")),
        file(RIGHT.astype(np.uint16) * 257),
        transparent(255 - RIGHT),
        transparent(np.full_like(RIGHT, 255), np.repeat(RIGHT[..., None], 3, axis=2)),
    ],
    ids=["grey", "colour", "bits", "16 bits", "alpha", "opaque alpha"],
)
def test_white_or_transparent_is_repainted(mask: bytes) -> None:
    """However the mask is stored; an alpha channel without a hole says nothing, and brightness counts."""
    image, repainted = Upload(file(LEVELS), mask).read()
    assert np.array_equal(np.asarray(image), LEVELS)
    assert np.array_equal(np.asarray(repainted), RIGHT)


def test_transparent_parts_are_white() -> None:
    """Whatever colours lie below them; a mask that comes along does not change that."""
    for mask in (b"", file(RIGHT)):
        image, _ = Upload(transparent(255 - RIGHT), mask).read()
        assert (np.asarray(image)[:, 20:] == 255).all()
        assert np.array_equal(np.asarray(image)[:, :20], LEVELS[:, :20])


@pytest.mark.parametrize("mime_type", ["image/png", "image/jpeg", "image/webp"])
@pytest.mark.parametrize("mask", [b"", file(RIGHT)])
def test_nothing_of_an_uploads_metadata_is_answered(mime_type: str, mask: bytes) -> None:
    """Comments, EXIF and profiles of the upload end where it was decoded."""
    data = BytesIO()
    Image.fromarray(LEVELS).save(data, "JPEG", comment=b"secret", exif=b"Exif\0\0MM\0*", icc_profile=b"secret")
    made = encode(np.zeros((3, 24, 32), np.float32), Output(mime_type), kept=Upload(data.getvalue(), mask))
    with Image.open(BytesIO(made.data)) as image:
        assert not {"comment", "exif", "icc_profile"} & set(image.info)
    assert b"secret" not in made.data


def test_a_mask_of_another_size_is_refused() -> None:
    """Both sizes are named, and the field."""
    with pytest.raises(InvalidField, match="mask: must have the size of image, 32x24 pixels, not 24x32"):
        Upload(file(LEVELS), file(RIGHT.T)).read()


@pytest.mark.parametrize(
    "mask",
    [
        file(np.zeros_like(RIGHT)),
        file(np.full((24, 32, 3), 127, np.uint8)),
        transparent(np.full_like(RIGHT, 255), np.zeros_like(LEVELS)),
    ],
    ids=["black", "dark", "opaque"],
)
def test_a_mask_that_names_nothing_is_refused(mask: bytes) -> None:
    """It would give back the picture as it is; one pixel is enough to go on."""
    with pytest.raises(InvalidField, match="mask: repaints nothing"):
        source(*Upload(file(LEVELS), mask).read(), (32, 24))
    little = np.zeros_like(RIGHT)
    little[3, 4] = 255
    repaint = source(*Upload(file(LEVELS), file(little)).read(), (32, 24)).repaint
    assert repaint is not None
    assert np.count_nonzero(repaint) == 1


@pytest.mark.parametrize("field", ["image", "mask"])
def test_a_file_that_is_none_is_refused_by_its_field(field: str) -> None:
    """Whichever of the two it is."""
    files = {"image": file(LEVELS), "mask": file(RIGHT), field: b"GIF89a"}
    with pytest.raises(InvalidField, match=f"{field}: must be a PNG, JPEG or WebP file"):
        Upload(**files).read()


def test_the_model_gets_pixels_and_a_mask_of_its_size() -> None:
    """Levels as planes, unchanged where the size fits; grey is repainted from the middle on."""
    grey = np.array([[0, 127], [128, 255]], np.uint8).repeat(12, 0).repeat(16, 1)
    made = source(Image.fromarray(LEVELS), Image.fromarray(grey), (32, 24))
    assert np.array_equal(made.levels, LEVELS.transpose(2, 0, 1))
    assert made.pixels.dtype == np.float32
    assert (made.pixels.min(), made.pixels.max()) == (0, 1)
    assert made.repaint is not None
    assert made.repaint[::12, ::16].tolist() == [[False, False], [True, True]]
    assert source(Image.fromarray(LEVELS), None, (32, 24)).repaint is None


def test_another_shape_is_cut_in_the_middle() -> None:
    """The picture fills the size: it is never stretched, and the mask goes along."""
    red = np.zeros((10, 40, 3), np.uint8)
    red[:, 15:25] = (255, 0, 0)
    made = source(Image.fromarray(red), Image.fromarray(red[..., 0]), (20, 20))
    assert made.repaint is not None
    assert made.repaint.all()
    assert made.levels[0].min() > 128


def kept(mask: bytes = b"", size: tuple[int, int] = (32, 24)) -> np.ndarray:
    """Return the levels of a file that was grey before the upload was put over it."""
    grey = np.full((3, 24, 32), 100 / 255, np.float32)
    picture = encode(grey, Output(), size=size, kept=Upload(file(LEVELS), mask))
    return np.asarray(Image.open(BytesIO(picture.data)))


def test_what_is_kept_is_the_upload_to_the_bit() -> None:
    """Black of the mask keeps every level, white nothing; without a mask all is kept."""
    result = kept(file(RIGHT))
    assert np.array_equal(result[:, :20], LEVELS[:, :20])
    assert (result[:, 20:] == 100).all()
    assert np.array_equal(kept(), LEVELS)


def test_a_soft_mask_mixes() -> None:
    """Grey is both, in proportion, to a level."""
    half = kept(file(np.full_like(RIGHT, 51)))
    assert np.abs(half - (0.8 * LEVELS + 0.2 * 100)).max() <= 1


def test_in_another_size_the_upload_is_resampled_once() -> None:
    """From the file itself, not from what the model got."""
    twice = Image.fromarray(LEVELS).resize((64, 48), Image.Resampling.LANCZOS)
    assert np.array_equal(kept(size=(64, 48)), np.asarray(twice))
