"""Outpainting with `--extend`: the canvas, its mask, and the request."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tintype.cli.commands import build_parser
from tintype.cli.errors import UserError
from tintype.cli.generation.prompts import read_prompts
from tintype.cli.generation.request import build_request
from tintype.cli.images.extend import extend, parse_sides

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.v1 import image_service_pb2 as pb


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(2).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def decoded(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_canvas_and_mask(photo: Path) -> None:
    """The image keeps its pixels, its edges continue, and the mask has what is new and a narrow overlap."""
    original = decoded(photo.read_bytes())
    image, mask = map(decoded, extend(photo.read_bytes(), parse_sides("left=16, bottom=24")))
    assert image.shape == (64, 76, 3)
    assert np.array_equal(image[:40, 16:], original)
    assert np.array_equal(image[:40, :16], np.repeat(original[:, :1], 16, axis=1))
    assert np.array_equal(image[40:, 16:], np.repeat(original[-1:], 24, axis=0))
    expected = np.full((64, 76), 255)
    expected[: 40 - 8, 16 + 8 :] = 0
    assert np.array_equal(mask, expected)


def request_of(*flags: str) -> pb.GenerateImagesRequest:
    (entry,) = read_prompts(vars(build_parser().parse_args(["generate", "x", *flags])))
    return build_request(entry.values)


def test_request(photo: Path) -> None:
    """The request has the canvas, its mask, and the strength 1 unless another is named."""
    request = request_of("--image", str(photo), "--extend", "right=20")
    assert (decoded(request.image).shape, decoded(request.mask).shape) == ((40, 80, 3), (40, 80))
    assert request.strength == 1
    assert request_of("--image", str(photo), "--extend", "top=1", "--strength", "0.5").strength == 0.5


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--extend left", "--extend must be SIDE=PIXELS,... of left, top, right, bottom, for example left=128"),
        ("--extend left=1,left=2", "--extend must be SIDE=PIXELS"),
        ("--extend middle=1", "--extend must be SIDE=PIXELS"),
        ("--extend left=9999", "each side must have at most 4096 pixels; got 10059x40"),
        ("--extend left=8 --mask {photo}", "--extend makes a mask; leave out --mask"),
        ("--extend left=8 --image /dev/zero", "--image"),
    ],
)
def test_refused(photo: Path, flags: str, expected: str) -> None:
    """Sides that cannot be meant are refused."""
    words = flags.format(photo=photo).replace("/dev/zero", str(photo.parent / "text.txt")).split()
    (photo.parent / "text.txt").write_text("no image")
    with pytest.raises(UserError, match=expected):
        request_of("--image", str(photo), *words)
    with pytest.raises(UserError, match="--extend needs --image"):
        request_of("--extend", "left=8")
