"""Files from strangers: what they say is believed only as far as it was checked."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tintype.service.errors import InvalidField
from tintype.service.images.decode import decode, sniff

LEVELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return `image` as the bytes of a file."""
    data = BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds hardly anything."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "mime_type", "options"),
    [("PNG", "image/png", {}), ("WEBP", "image/webp", {"lossless": True}), ("JPEG", "image/jpeg", {"quality": 100})],
)
def test_all_three_kinds_are_read(kind: str, mime_type: str, options: dict[str, Any]) -> None:
    """The levels of a file come back in RGB."""
    data = file(Image.fromarray(LEVELS), kind, **options)
    read = decode(data)
    assert sniff(data) == mime_type
    assert read.alpha is None
    assert read.image.mode == "RGB"
    tolerance = 15 if kind == "JPEG" else 0
    assert np.abs(np.asarray(read.image, int) - LEVELS).max() <= tolerance


def test_alpha_is_read() -> None:
    """The alpha channel comes beside the colours."""
    image = Image.fromarray(LEVELS).convert("RGBA")
    image.putalpha(Image.new("L", image.size, 51))
    read = decode(file(image))
    assert read.alpha is not None
    assert read.alpha.size == (6, 4)
    assert read.alpha.getextrema() == (51, 51)
    assert np.array_equal(np.asarray(read.image), LEVELS)


def test_a_palette_may_be_transparent() -> None:
    """As in many small PNG files; the colours are the palette's."""
    image = Image.fromarray(LEVELS).quantize(8)
    read = decode(file(image, transparency=bytes([0, *[255] * 7])))
    assert read.alpha is not None
    assert np.array_equal(np.asarray(read.alpha) == 0, np.asarray(image) == 0)
    assert np.array_equal(np.asarray(read.image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK"])
def test_other_colour_modes_are_read(mode: str) -> None:
    """Grey, palettes, bits and print colours become RGB."""
    assert decode(file(Image.new(mode, (5, 3)), "JPEG" if mode == "CMYK" else "PNG")).image.size == (5, 3)


def test_sixteen_bits_are_scaled() -> None:
    """A half-bright pixel of 16 bits is half bright, and not white."""
    read = decode(file(Image.fromarray(np.full((2, 3), 32_768, np.uint16))))
    assert read.image.mode == "RGB"
    assert read.image.getextrema() == ((128, 128),) * 3


def test_pictures_are_turned_upright() -> None:
    """The EXIF orientation of a camera is followed."""
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees to the right
    read = decode(file(Image.fromarray(LEVELS), exif=exif))
    assert np.array_equal(np.asarray(read.image), np.rot90(LEVELS, -1))


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" + bytes(20), b"<svg/>", b"RIFF0000WAVE", file(Image.new("RGB", (4, 4)), "BMP")]
)
def test_other_files_are_refused(data: bytes) -> None:
    """What is no PNG, JPEG or WebP by its first bytes is never given to a decoder."""
    with pytest.raises(InvalidField, match="mask: must be a PNG, JPEG or WebP file"):
        decode(data, field="mask")


@pytest.mark.parametrize(("width", "height"), [(5000, 5000), (8193, 1), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_by_their_header(width: int, height: int) -> None:
    """A file that claims more pixels than we take is refused before one is decoded."""
    with pytest.raises(InvalidField, match=r"at most 16777216 pixels|damaged"):
        decode(png_header(width, height))


def test_cut_files_are_refused() -> None:
    """Half a picture is none."""
    data = file(Image.effect_noise((64, 64), 80).convert("RGB"))
    with pytest.raises(InvalidField, match="damaged"):
        decode(data[: len(data) // 2])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.binary(max_size=40), st.integers(0, 10_000))
def test_damage_is_an_invalid_field_and_nothing_else(kind: str, noise: bytes, place: int) -> None:
    """Whatever bytes are overwritten: a picture, or an InvalidField."""
    data = bytearray(file(Image.fromarray(LEVELS), kind))
    place %= len(data)
    data[place : place + len(noise)] = noise
    with suppress(InvalidField):
        assert decode(bytes(data)).image.mode == "RGB"
