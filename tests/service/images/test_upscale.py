"""Enlarging of images: what a request may ask for, and that tiles and alpha channels are right."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from tintype.service.errors import Cancelled, InvalidRequest
from tintype.service.images import upscaler
from tintype.service.images.encode import ENCODERS, Output
from tintype.service.images.upscale import UpscaleJob, enlarge
from tintype.service.images.upscaler import double
from tintype.v1.image_texts import KEY, read_texts
from tintype.v1.limits import MAX_UPLOAD_PIXELS

NOISE = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)


def file(image: Image.Image) -> bytes:
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def doubled(levels: np.ndarray) -> np.ndarray:
    return double(levels, lambda: None)


def drawing(side: int) -> Image.Image:
    """Draw a house and a sun, antialiased."""
    image = Image.new("RGB", (4 * side, 4 * side), (120, 190, 240))
    draw = ImageDraw.Draw(image)
    unit = side / 16
    draw.ellipse([4 * 9 * unit, 4 * unit, 4 * 14 * unit, 4 * 6 * unit], fill=(255, 220, 90))
    draw.polygon([(4 * x * unit, 4 * y * unit) for x, y in ((1, 9), (5, 4), (9, 9))], fill=(150, 60, 50))
    draw.rectangle([4 * 2 * unit, 4 * 9 * unit, 4 * 8 * unit, 4 * 14 * unit], fill=(240, 230, 200))
    return image.reduce(4)


def test_tiles_have_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result does not depend on the tiles, whether the image is a multiple of them or not."""
    whole = doubled(NOISE)
    monkeypatch.setattr(upscaler, "TILE", 32)
    assert whole.shape == (140, 180, 3)
    np.testing.assert_array_equal(doubled(NOISE), whole)


def test_plain_images_stay_plain() -> None:
    """An image of one colour, however small, has the same colour afterwards."""
    plain = np.full((1, 3, 3), (200, 30, 90), np.uint8)
    np.testing.assert_array_equal(doubled(plain), np.full((2, 6, 3), (200, 30, 90), np.uint8))


def test_edges_are_nearer_to_the_original_than_by_lanczos() -> None:
    """A drawing that is halved and enlarged again has at most half of Lanczos' squared error."""
    original = drawing(256)
    small = original.resize((128, 128), Image.Resampling.BOX)
    lanczos = np.asarray(small.resize((256, 256), Image.Resampling.LANCZOS), float)
    own = doubled(np.asarray(small)).astype(float)
    errors = [np.square(enlarged - np.asarray(original, float)).mean() for enlarged in (own, lanczos)]
    assert errors[0] < 0.5 * errors[1]


def test_alpha_is_kept_where_the_file_has_it() -> None:
    """PNG and WebP keep the alpha channel; in JPEG transparent parts are white."""
    image = drawing(64)
    image.putalpha(Image.new("L", (64, 64)))
    kept = Image.open(BytesIO(enlarge(UpscaleJob(file(image), 4), doubled).data))
    assert (kept.mode, kept.size) == ("RGBA", (256, 256))
    assert kept.getchannel("A").getextrema() == (0, 0)
    white = Image.open(BytesIO(enlarge(UpscaleJob(file(image), 2, Output("image/jpeg")), doubled).data))
    assert white.convert("RGB").getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize(
    ("image", "factor", "problem"),
    [
        (file(drawing(16)), 3, "must be 2 or 4, not 3"),
        (b"", 2, "must not be empty"),
        (b"text", 2, "PNG"),
        (file(Image.new("1", (4096, 1025))), 2, f"at most {MAX_UPLOAD_PIXELS} pixels"),
        (file(Image.new("1", (4097, 8))), 2, "8192 on a side"),
    ],
)
def test_requests_are_checked_before_the_work(image: bytes, factor: int, problem: str) -> None:
    """A wrong factor, a wrong file, and a result that would be too large are refused by the file's header."""
    with pytest.raises(InvalidRequest, match=problem):
        UpscaleJob(image, factor)


def test_a_stopped_call_ends_before_the_next_tile() -> None:
    """`check` is called before each tile, and its error ends the work."""
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Cancelled("the client disconnected")

    with pytest.raises(Cancelled):
        double(np.zeros((8, 3 * upscaler.TILE, 3), np.uint8), check)
    assert len(calls) == 2


@pytest.mark.parametrize("mime_type", ENCODERS)
def test_the_text_of_the_file_is_kept(mime_type: str) -> None:
    """An enlarged image still says how it was made, whatever its type, unless metadata is switched off."""
    info = PngInfo()
    info.add_text(KEY, "a lake, 湖\nSteps: 4, Seed: 7")
    data = BytesIO()
    Image.new("RGB", (8, 8), "teal").save(data, "PNG", pnginfo=info)
    found = [
        read_texts(enlarge(UpscaleJob(data.getvalue(), 2, Output(mime_type, metadata=metadata)), doubled).data)
        for metadata in (True, False)
    ]
    assert found == [{KEY: "a lake, 湖\nSteps: 4, Seed: 7"}, {}]


def test_a_long_text_fits_into_jpeg() -> None:
    """The text of an upload may be longer than a segment of JPEG: its beginning is kept."""
    info = PngInfo()
    info.add_text(KEY, "a lake, " * 20_000)
    data = BytesIO()
    Image.new("RGB", (8, 8), "teal").save(data, "PNG", pnginfo=info)
    text = read_texts(enlarge(UpscaleJob(data.getvalue(), 2, Output("image/jpeg")), doubled).data)[KEY]
    assert len(text) > 10_000
    assert ("a lake, " * 20_000).startswith(text)
