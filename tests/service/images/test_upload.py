"""Uploads: reading of masks, the pixels that the model gets, and the parts that the result keeps."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tintype.service.errors import InvalidField
from tintype.service.images.encode import Output, encode
from tintype.service.images.upload import Upload, make_source

LEVELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
RIGHT = np.zeros((24, 32), np.uint8)
RIGHT[:, 20:] = 255  # repainted


def file(image: Any, kind: str = "PNG") -> bytes:
    """Encode an image, or levels, as a file."""
    data = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(data, kind)
    return data.getvalue()


def transparent(alpha: np.ndarray, levels: np.ndarray = LEVELS) -> bytes:
    """Return a file with the alpha channel `alpha`."""
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
    """All formats of masks give the same result; an opaque alpha channel is ignored."""
    image, repainted = Upload(file(LEVELS), mask).read()
    assert np.array_equal(np.asarray(image), LEVELS)
    assert np.array_equal(np.asarray(repainted), RIGHT)


def test_transparent_parts_are_white() -> None:
    """Transparent parts become white, whatever their colours, with and without a mask."""
    for mask in (b"", file(RIGHT)):
        image, _ = Upload(transparent(255 - RIGHT), mask).read()
        assert (np.asarray(image)[:, 20:] == 255).all()
        assert np.array_equal(np.asarray(image)[:, :20], LEVELS[:, :20])


@pytest.mark.parametrize("mime_type", ["image/png", "image/jpeg", "image/webp"])
@pytest.mark.parametrize("mask", [b"", file(RIGHT)])
def test_metadata_of_the_upload_is_removed(mime_type: str, mask: bytes) -> None:
    """Comment, EXIF and profile of an upload are not in the result."""
    data = BytesIO()
    Image.fromarray(LEVELS).save(data, "JPEG", comment=b"secret", exif=b"Exif\0\0MM\0*", icc_profile=b"secret")
    made = encode(np.zeros((3, 24, 32), np.float32), Output(mime_type), kept=Upload(data.getvalue(), mask))
    with Image.open(BytesIO(made.data)) as image:
        assert not {"comment", "exif", "icc_profile"} & set(image.info)
    assert b"secret" not in made.data


def test_mask_of_another_size_is_refused() -> None:
    """The error names the field and both sizes."""
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
def test_empty_mask_is_refused(mask: bytes) -> None:
    """A mask that repaints nothing is an error; one pixel is enough."""
    with pytest.raises(InvalidField, match="mask: repaints nothing"):
        make_source(*Upload(file(LEVELS), mask).read(), (32, 24))
    little = np.zeros_like(RIGHT)
    little[3, 4] = 255
    repaint = make_source(*Upload(file(LEVELS), file(little)).read(), (32, 24)).repaint
    assert repaint is not None
    assert np.count_nonzero(repaint) == 1


@pytest.mark.parametrize("field", ["image", "mask"])
def test_invalid_file_is_refused(field: str) -> None:
    """The error names the field of the invalid file."""
    files = {"image": file(LEVELS), "mask": file(RIGHT), field: b"GIF89a"}
    with pytest.raises(InvalidField, match=f"{field}: must be a PNG, JPEG or WebP file"):
        Upload(**files).read()


def test_source_has_the_models_size() -> None:
    """Levels of an image in the right size are unchanged; grey levels from 128 on are repainted."""
    grey = np.array([[0, 127], [128, 255]], np.uint8).repeat(12, 0).repeat(16, 1)
    made = make_source(Image.fromarray(LEVELS), Image.fromarray(grey), (32, 24))
    assert np.array_equal(made.levels, LEVELS.transpose(2, 0, 1))
    assert made.pixels.dtype == np.float32
    assert (made.pixels.min(), made.pixels.max()) == (0, 1)
    assert made.repaint is not None
    assert made.repaint[::12, ::16].tolist() == [[False, False], [True, True]]
    assert make_source(Image.fromarray(LEVELS), None, (32, 24)).repaint is None


def test_other_aspect_ratio_is_cropped() -> None:
    """Image and mask are cropped to the size, centred, and never stretched."""
    red = np.zeros((10, 40, 3), np.uint8)
    red[:, 15:25] = (255, 0, 0)
    made = make_source(Image.fromarray(red), Image.fromarray(red[..., 0]), (20, 20))
    assert made.repaint is not None
    assert made.repaint.all()
    assert made.levels[0].min() > 128


def kept(mask: bytes = b"", size: tuple[int, int] = (32, 24)) -> np.ndarray:
    """Return the levels of a result that was grey before the upload was copied into it."""
    grey = np.full((3, 24, 32), 100 / 255, np.float32)
    encoded = encode(grey, Output(), size=size, kept=Upload(file(LEVELS), mask))
    return np.asarray(Image.open(BytesIO(encoded.data)))


def test_kept_parts_are_exact() -> None:
    """Parts that the mask keeps are equal to the bit; without a mask all parts are kept."""
    result = kept(file(RIGHT))
    assert np.array_equal(result[:, :20], LEVELS[:, :20])
    assert (result[:, 20:] == 100).all()
    assert np.array_equal(kept(), LEVELS)


def test_soft_mask_mixes() -> None:
    """Grey levels of a mask mix both images in proportion, to within one level."""
    half = kept(file(np.full_like(RIGHT, 51)))
    assert np.abs(half - (0.8 * LEVELS + 0.2 * 100)).max() <= 1


def test_upload_is_resampled_once() -> None:
    """In another size the kept parts are resampled from the file, not from the model's input."""
    twice = Image.fromarray(LEVELS).resize((64, 48), Image.Resampling.LANCZOS)
    assert np.array_equal(kept(size=(64, 48)), np.asarray(twice))
