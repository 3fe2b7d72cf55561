"""Headers of uploads are checked without decoding, in time linear in the length of the file."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from tests.support.complexity import check_linear
from tintype.v1 import image_header
from tintype.v1.image_header import check, icc_profile, strip_metadata
from tintype.v1.image_parts import BadImage, png_chunks

if TYPE_CHECKING:
    from collections.abc import Callable


def file(kind: str = "PNG", size: tuple[int, int] = (6, 4), **options: Any) -> bytes:
    data = BytesIO()
    Image.new("RGB", size).save(data, kind, **options)
    return data.getvalue()


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(*more: bytes) -> bytes:
    """Return a PNG with more chunks before its pixels."""
    data = file()
    return data[:33] + b"".join(more) + data[33:]


def jpeg_with(more: bytes) -> bytes:
    """Return a JPEG with more bytes before its first segment."""
    data = file("JPEG")
    return data[:2] + more + data[2:]


def jpeg_ending(more: bytes, size: tuple[int, int] = (6, 4)) -> bytes:
    """Return a JPEG with more bytes between its pixels and its end marker."""
    return file("JPEG", size).removesuffix(b"\xff\xd9") + more + b"\xff\xd9"


def webp_with(more: bytes) -> bytes:
    """Return a WebP with more chunks at its end."""
    data = file("WEBP")
    return b"RIFF" + struct.pack("<I", len(data) - 8 + len(more)) + data[8:] + more


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*"}, {"progressive": True}])
def test_type_and_size(kind: str, options: dict[str, Any]) -> None:
    """Type and size equal Pillow's, for each way in which a format stores them."""
    header = check(file(kind, (600, 401), **options))
    assert (header.mime_type, header.size) == (f"image/{kind.lower()}", (600, 401))


@pytest.mark.parametrize(
    ("mode", "kind", "alpha"),
    [("RGB", "PNG", False), ("RGBA", "PNG", True), ("LA", "PNG", True), ("RGB", "WEBP", False), ("RGBA", "WEBP", True)],
)
def test_alpha(mode: str, kind: str, alpha: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """`Header.alpha` says whether pixels may be transparent."""
    data = BytesIO()
    Image.new(mode, (5, 3)).save(data, kind)
    assert check(data.getvalue()).alpha is alpha


def test_transparent_colour_counts_as_alpha() -> None:
    """A PNG with one transparent colour may have transparent pixels."""
    assert check(file(transparency=(0, 0, 0))).alpha


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (png_with(*[chunk(b"tEXt")] * 5000), "more chunks"),
        (jpeg_with(b"\xff\xe1\0\2" * 5000), "more than 4096 segments"),
        (jpeg_with(b"\xff\xe1\0\0" * 5000), "more than 4096 segments"),
        (jpeg_with(b"\xff" * 100_000), "more than 4096 segments"),
        (webp_with(b"abcd\0\0\0\0" * 5000), "more than 4096 chunks"),
        (jpeg_ending(b"\xff\xda\0\2" * 30, (4096, 4096)), "at most 24 scans"),
        (jpeg_ending(b"\xff\xfe\0\4\xff\xd9" + b"\xff\xda\0\2" * 30, (4096, 4096)), "at most 24 scans"),
        (jpeg_ending(b"\xff\x01\xff\xd0" + b"\xff\xda\0\2" * 30, (4096, 4096)), "at most 24 scans"),
        (jpeg_ending(b"\xff\xfe\0\2" * 5000), "more than 4096 segments"),
        (file("WEBP")[:25], "is damaged"),
        (file("JPEG")[:150], "is damaged"),
        (b"RIFF\0\0\0\0WEBP" + bytes(40), "is damaged"),
    ],
    ids=[
        *("png", "jpeg", "no length", "fill", "webp"),
        *("scans", "scans after a comment", "scans after lone markers", "segments between scans"),
        *("cut webp", "cut jpeg", "empty webp"),
    ],
)
def test_too_many_parts_are_refused(data: bytes, why: str) -> None:
    """The number of chunks, segments and scans is limited, because reading them takes time."""
    with pytest.raises(BadImage, match=why):
        check(data)


@pytest.mark.parametrize(
    "chunks", [[b"IDAT"], [b"IDAT", b"PLTE"], [b"tRNS", b"IDAT"]], ids=["none", "after the pixels", "alpha alone"]
)
def test_indexed_pixels_need_a_palette(chunks: list[bytes]) -> None:
    """A PNG of indexed pixels without a palette before them is damaged (PNG, section 11.2.2)."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 3, 0, 0, 0))
    parts = {b"IDAT": zlib.compress(b"\0\0"), b"PLTE": bytes(3), b"tRNS": b"\0"}
    data = b"".join([file()[:8], head, *(chunk(kind, parts[kind]) for kind in chunks), chunk(b"IEND")])
    with pytest.raises(BadImage, match="has no palette"):
        check(data)


def test_jpeg_size_is_checked_before_its_scans() -> None:
    """A JPEG that is too large is refused because of its size, however many scans it has."""
    data = file("JPEG", (64, 64))
    frame = data.index(b"\xff\xc0")
    with pytest.raises(BadImage, match="8192 a side, not 65500x65500"):
        check(data[: frame + 5] + struct.pack(">HH", 65500, 65500) + data[frame + 9 :])


def test_bytes_after_a_jpeg_are_ignored() -> None:
    """Bytes after the end marker, such as the video of a motion photo, are not counted as scans."""
    data = file("JPEG", (4096, 4096)) + b"\xff\xda\0\2" * 100
    assert check(data).size == (4096, 4096)


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_rows": 1}])
def test_scans_are_counted(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A progressive JPEG of three colours has ten scans; restart markers do not count."""
    scans, size = 10 if "progressive" in options else 1, (64, 48)
    monkeypatch.setattr(image_header, "MAX_SCANNED", scans * size[0] * size[1])
    assert check(file("JPEG", size, **options)).size == size
    monkeypatch.setattr(image_header, "MAX_SCANNED", scans * size[0] * size[1] - 1)
    with pytest.raises(BadImage, match=f"not {scans}$"):
        check(file("JPEG", size, **options))


@pytest.mark.parametrize(
    "make",
    [
        lambda n: png_with(chunk(b"IDAT") * (n // 12)),
        lambda n: png_with(chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + bytes(n))),
        lambda n: png_with(chunk(b"iCCP", b"x" * n)),
        lambda n: jpeg_with(b"\xff\xe2\0\2" * (n // 4)),
        lambda n: jpeg_with(b"\xff" * n),
        lambda n: jpeg_with(b"\0" * n),
        lambda n: jpeg_with(b"\xff\0" * (n // 2)),
        lambda n: jpeg_ending(b"\xff" * n),
        lambda n: jpeg_ending(b"\xff\0" * (n // 2)),
        lambda n: jpeg_ending(b"\xff\xda\0\2" * (n // 4)),
        lambda n: webp_with(b"EXIF\0\0\0\0" * (n // 8)),
    ],
    ids=[
        *("chunks", "exif", "profile", "segments", "fill", "junk", "stuffing"),
        *("fill between", "stuffing between", "scans", "webp"),
    ],
)
def test_time_is_linear(make: Callable[[int], bytes]) -> None:
    """Time is linear in the length of the file, whether it is accepted or refused."""

    def judge(data: bytes) -> None:
        check(data)
        strip_metadata(data)
        icc_profile(data)

    check_linear(judge, make)


def test_long_png_may_have_more_chunks() -> None:
    """Encoders write chunks of 8 KiB, so a PNG of 40 MB may have thousands of them."""
    parts = [chunk(b"IDAT", bytes(8192))] * 5000
    assert len(list(png_chunks(png_with(*parts)))) == 5003


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_nothing_is_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file with many pixels is checked by its header alone."""
    data = file(kind, (4096, 4096))
    monkeypatch.setattr(PngImageFile, "load", None)
    monkeypatch.setattr(Image, "open", None)
    assert check(data).size == (4096, 4096)


def test_profile_size_is_limited() -> None:
    """A profile that inflates to more than the limit is ignored."""
    assert icc_profile(png_with(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(20_000_000))))) == b""
    assert icc_profile(png_with(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3000))))) == bytes(3000)
