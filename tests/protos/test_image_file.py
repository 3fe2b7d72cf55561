"""Decoding of uploads: correct pixels for valid files, BadImage for all others."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from tests.support.pixels import colour
from tintype.v1.image_file import decode
from tintype.v1.image_header import check
from tintype.v1.image_parts import BadImage

LEVELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
ORIENTATION = 0x0112
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return `image` as the bytes of a file."""
    data = BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def chunk(name: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """Return a PNG chunk, with a valid checksum unless another is given."""
    right = zlib.crc32(name + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", right)


def exif_block(order: str, fields: list[tuple[int, int, int, int]]) -> bytes:
    """Return an EXIF block of one directory; a field is tag, type, count and value."""
    head = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}[order]
    entries = [
        struct.pack(f"{order}HHI", tag, kind, count) + struct.pack(f"{order}HH" if kind == 3 else f"{order}I", *value)
        for tag, kind, count, number in fields
        for value in [(number, 0) if kind == 3 else (number,)]
    ]
    return head + struct.pack(f"{order}H", len(fields)) + b"".join(entries) + bytes(4)


def swapped_profile() -> bytes:
    """Return the sRGB profile with its red and blue primaries swapped_profile."""
    return SRGB.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")


def grey_profile() -> bytes:
    """Return a profile of linear grey_profile levels (ICC.1:2022): a curve of gamma 1 and a white point."""
    white = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)  # D50
    curve, tag = b"curv" + struct.pack(">IIHH", 0, 1, 0x100, 0), b"XYZ " + bytes(4) + white
    table = struct.pack(">I4sII4sII", 2, b"kTRC", 156, len(curve), b"wtpt", 156 + len(curve), len(tag))
    kind = struct.pack(">I4sI12s12x4s28x", 156 + len(curve + tag), b"", 0x02400000, b"mntrGRAYXYZ ", b"acsp")
    return (kind + white).ljust(128, b"\0") + table + curve + tag


def png_header(width: int, height: int) -> bytes:
    """Return a PNG with a header of this size, and no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "mime_type", "options"),
    [("PNG", "image/png", {}), ("WEBP", "image/webp", {"lossless": True}), ("JPEG", "image/jpeg", {"quality": 100})],
)
def test_each_format_is_read(kind: str, mime_type: str, options: dict[str, Any]) -> None:
    """PNG, JPEG and WebP files are decoded to RGB levels."""
    data = file(Image.fromarray(LEVELS), kind, **options)
    read = decode(data)
    assert check(data).mime_type == mime_type
    assert read.alpha is None
    assert read.image.mode == "RGB"
    tolerance = 15 if kind == "JPEG" else 0
    assert np.abs(np.asarray(read.image, int) - LEVELS).max() <= tolerance


def test_alpha_is_read() -> None:
    """The alpha channel is returned separately from the colours."""
    image = Image.fromarray(LEVELS).convert("RGBA")
    image.putalpha(Image.new("L", image.size, 51))
    read = decode(file(image))
    assert read.alpha is not None
    assert read.alpha.size == (6, 4)
    assert read.alpha.getextrema() == (51, 51)
    assert np.array_equal(np.asarray(read.image), LEVELS)


def test_transparent_palette_is_read() -> None:
    """A palette with transparent entries becomes colours and an alpha channel."""
    image = Image.fromarray(LEVELS).quantize(8)
    read = decode(file(image, transparency=bytes([0, *[255] * 7])))
    assert read.alpha is not None
    assert np.array_equal(np.asarray(read.alpha) == 0, np.asarray(image) == 0)
    assert np.array_equal(np.asarray(read.image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK"])
def test_other_colour_modes_are_read(mode: str) -> None:
    """Greyscale, palettes, bilevel and CMYK images become RGB."""
    assert decode(file(Image.new(mode, (5, 3)), "JPEG" if mode == "CMYK" else "PNG")).image.size == (5, 3)


def test_sixteen_bits_are_scaled() -> None:
    """A pixel of half brightness in 16 bits has half brightness in 8 bits; it is not clipped to white."""
    read = decode(file(Image.fromarray(np.full((2, 3), 32_768, np.uint16))))
    assert read.image.mode == "RGB"
    assert read.image.getextrema() == ((128, 128),) * 3


def test_sixteen_bits_are_rounded_to_the_nearest_level() -> None:
    """Each of the 65536 levels becomes the nearest 8-bit level; one 8-bit level is 257 of them."""
    levels = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    read = np.asarray(decode(file(Image.fromarray(levels))).image)[..., 0]
    assert np.array_equal(read, np.rint(levels / 257))


@pytest.mark.slow
def test_reading_images_needs_no_numpy() -> None:
    """Decoding does not import numpy, which would add 0.2 s and 20 MB to the gateway's start."""
    said = "import sys; import tintype.v1.image_file; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_images_are_turned_upright() -> None:
    """The EXIF orientation of a camera is applied."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees clockwise
    read = decode(file(Image.fromarray(LEVELS), exif=exif))
    assert np.array_equal(np.asarray(read.image), np.rot90(LEVELS, -1))


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" + bytes(20), b"<svg/>", b"RIFF0000WAVE", file(Image.new("RGB", (4, 4)), "BMP")]
)
def test_other_files_are_refused(data: bytes) -> None:
    """A file that does not begin like a PNG, JPEG or WebP is never given to a decoder."""
    with pytest.raises(BadImage, match="must be a PNG, JPEG or WebP file"):
        decode(data, mask=True)


@pytest.mark.parametrize(("width", "height"), [(5000, 5000), (8193, 1), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bombs_are_refused(width: int, height: int) -> None:
    """A file whose header has too many pixels is refused before any pixel is decoded."""
    with pytest.raises(BadImage, match=r"at most 16777216 pixels|damaged"):
        decode(png_header(width, height))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_files_are_refused(kind: str) -> None:
    """A truncated file of any type is refused, wherever it ends."""
    data = file(Image.effect_noise((64, 64), 80).convert("RGB"), kind)
    for share in (0.3, 0.5, 0.9):
        with pytest.raises(BadImage, match="damaged"):
            decode(data[: int(len(data) * share)])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.binary(max_size=40), st.integers(0, 10_000))
def test_damage_raises_only_bad_image(kind: str, noise: bytes, place: int) -> None:
    """Decoding a file with overwritten bytes returns an image or raises BadImage."""
    data = bytearray(file(Image.fromarray(LEVELS), kind))
    place %= len(data)
    data[place : place + len(noise)] = noise
    with suppress(BadImage):
        assert decode(bytes(data)).image.mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_each_orientation_matches_pillow(kind: str, orientation: int) -> None:
    """All eight orientations match Pillow in each format, and `Header.size` is the size of the upright image."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = file(Image.fromarray(LEVELS), kind, exif=exif)
    with Image.open(BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(np.asarray(decode(data).image), expected)
    assert check(data).size == expected.shape[1::-1]


@pytest.mark.parametrize("kind", [2, 5, 7, 10, 12, 99])
@pytest.mark.parametrize("order", ["<", ">"])
def test_unusual_exif_is_read(order: str, kind: int) -> None:
    """The orientation is found after EXIF fields of invalid types."""
    exif = exif_block(order, [(0x0100, kind, 1, 200), (ORIENTATION, 3, 1, 6), (0x0128, kind, 2**31, 2**31)])
    data = file(Image.fromarray(LEVELS), "JPEG", exif=b"Exif\0\0" + exif, quality=100)
    assert decode(data).image.size == (4, 6)


@pytest.mark.parametrize(
    "block", [b"", b"MM", b"II*\0\xff\xff\xff\xff", b"XX*\0\x08\0\0\0", b"MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_is_ignored(block: bytes) -> None:
    """An EXIF block that cannot be read leaves the image unchanged."""
    assert decode(file(Image.fromarray(LEVELS), "PNG", exif=block or b" ")).image.size == (6, 4)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"zTXt", b"parameters\0\0" + zlib.compress(bytes(3_000_000)))],
        [chunk(b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(bytes(3_000_000)))],
        [chunk(b"tEXt", b"parameters\0a", checksum=1)],
        [chunk(b"zTXt", b"parameters\0\0no zlib")],
        [chunk(b"iCCP", b"profile\0\0no zlib", checksum=7)],
        [chunk(b"eXIf", b"MM\0*", checksum=7)],
        [chunk(b"abcd", bytes(70_000))],
    ],
    ids=["long text", "long international text", "checksum", "invalid zlib", "profile", "exif", "unknown"],
)
def test_other_png_chunks_are_ignored(chunks: list[bytes], place: str) -> None:
    """Chunks that do not change pixels have no effect, before or after the pixels, even if they are damaged."""
    data = file(Image.fromarray(LEVELS))
    at = 33 if place == "before" else len(data) - 12
    read = decode(data[:at] + b"".join(chunks) + data[at:])
    assert np.array_equal(np.asarray(read.image), LEVELS)
    assert read.image.info == {}


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"subsampling": 0}])
@pytest.mark.parametrize("ending", [b"", b"\0\0", b"\xff"])
def test_jpeg_without_end_marker_is_read(options: dict[str, Any], ending: bytes) -> None:
    """If all pixels are present, the image equals that of the complete file, as in browsers."""
    data = file(Image.effect_noise((64, 48), 80).convert("RGB"), "JPEG", **options)
    assert data.endswith(b"\xff\xd9")
    assert np.array_equal(np.asarray(decode(data[:-2] + ending).image), np.asarray(decode(data).image))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_metadata_is_removed(kind: str) -> None:
    """A decoded image has no comment, EXIF or profile, so none of them can get into a result."""
    comment = {"comment": b"secret"} if kind == "JPEG" else {}
    data = file(
        Image.fromarray(LEVELS), kind, exif=b"Exif\0\0MM\0*", icc_profile=swapped_profile(), dpi=(7, 7), **comment
    )
    assert decode(data).image.info == {}


@pytest.mark.parametrize(("kind", "apart"), [("PNG", 0), ("WEBP", 0), ("JPEG", 6)])
def test_colour_profile_is_applied(kind: str, apart: int) -> None:
    """A profile that swaps red and blue is applied: the decoded image has the colours of an sRGB image."""
    options = {"quality": 100} | (
        {"lossless": True} if kind == "WEBP" else {"subsampling": 0} if kind == "JPEG" else {}
    )
    data = file(Image.new("RGB", (4, 4), (230, 20, 20)), kind, icc_profile=swapped_profile(), **options)
    red, green, blue = (np.asarray(decode(data).image)[0, 0]).tolist()
    assert max(abs(red - 20), abs(green - 20), abs(blue - 230)) <= 2 + apart


@pytest.mark.parametrize(("mode", "colour"), [("L", 128), ("LA", (128, 200))])
def test_grey_profile_is_applied(mode: str, colour: Any) -> None:
    """Linear grey 128 becomes sRGB level 188, with and without transparency."""
    read = decode(file(Image.new(mode, (2, 2), colour), icc_profile=grey_profile()))
    assert read.image.getpixel((0, 0)) == (188,) * 3


@pytest.mark.parametrize(
    "profile", [SRGB, b"", b"no profile", SRGB[:200], LAB], ids=["srgb", "none", "text", "cut", "lab"]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA"])
def test_other_profiles_change_no_level(mode: str, profile: bytes) -> None:
    """Profiles of sRGB, of another colour space, and damaged ones leave all levels unchanged."""
    image = Image.fromarray(LEVELS).convert(mode)
    read = decode(file(image, icc_profile=profile or None))
    assert np.array_equal(np.asarray(read.image), np.asarray(image.convert("RGB")))


def test_masks_are_not_colour_managed() -> None:
    """A profile does not change the levels of a mask."""
    data = file(Image.fromarray(LEVELS), icc_profile=swapped_profile())
    assert np.array_equal(np.asarray(decode(data, mask=True).image), LEVELS)


def test_on_white() -> None:
    """Transparent pixels become white, and half-transparent ones are mixed with white."""
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (0, 0, 0, alpha))
    assert [colour(decode(file(image)).on_white(), (x, 0))[0] for x in range(3)] == [255, 127, 0]
