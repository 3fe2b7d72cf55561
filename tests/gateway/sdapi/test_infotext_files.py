"""The texts inside image files: what programs write, and what is damaged."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.support.gateway.bodies import opened, png
from tintype.gateway.sdapi.infotext import KEY, MAX_TEXT, texts, with_infotext
from tintype.service.images.encode import ENCODERS, Output
from tintype.service.images.metadata import Parameters

if TYPE_CHECKING:
    from collections.abc import Callable

PARAMETERS = Parameters(
    prompt="a lake, ü 湖",
    negative_prompt="",
    steps=20,
    sampler="euler",
    schedule="karras",
    guidance_scale=7.5,
    seed=7,
    width=16,
    height=16,
    model="tiny",
)
COMMENT = b"ASCII\0\0\0Steps: 3"


def saved(kind: str, **options: object) -> bytes:
    """A small image as a file of Pillow's format `kind`."""
    file = BytesIO()
    Image.new("RGB", (16, 16), "teal").save(file, kind, **options)
    return file.getvalue()


def exif(comment: bytes = COMMENT, order: str = ">", *, entries: int = 1) -> bytes:
    """EXIF with a UserComment after other entries of its directory."""
    mark = {">": b"MM\0*", "<": b"II*\0"}[order]
    first = struct.pack(f"{order}HHHIII", 1, 0x8769, 4, 1, 26, 0)
    others = [struct.pack(f"{order}HHII", 0x1000 + number, 3, 1, 0) for number in range(entries - 1)]
    place = 26 + 2 + 12 * entries + 4
    own = struct.pack(f"{order}HHII", 0x9286, 7, len(comment), place)
    within = b"".join([struct.pack(f"{order}H", entries), *others, own, bytes(4)])
    return mark + struct.pack(f"{order}I", 8) + first + within + comment


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG file that begins with these segments."""
    parts = [b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data for marker, data in segments]
    return b"\xff\xd8" + b"".join(parts) + saved("JPEG")[2:]


@pytest.mark.parametrize("kind", ENCODERS)
def test_read(kind: str) -> None:
    """What the service writes into files of any type is read as it was written."""
    file = BytesIO()
    ENCODERS[kind](Image.new("RGB", (16, 16)), file, Output(kind), PARAMETERS)
    assert texts(file.getvalue())[KEY] == str(PARAMETERS)


def test_kinds_of_texts() -> None:
    """All three chunks of PNG are read, before and after the pixels; of one key twice the last counts."""
    info = PngInfo()
    info.add(b"tEXt", KEY.encode() + b"\0late", after_idat=True)
    info.add_text("Old", "x")
    info.add_text("Old", "plain ü")
    info.add_text("Packed", "ö" * 5000, zip=True)
    info.add_itxt("International", "湖", lang="zh", tkey="湖")
    info.add_itxt("Both", "湖" * 5000, zip=True)
    assert texts(saved("PNG", pnginfo=info)) == {
        "Old": "plain ü",
        "Packed": "ö" * 5000,
        "International": "湖",
        "Both": "湖" * 5000,
        KEY: "late",
    }


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("entries", [1, 30])
@pytest.mark.parametrize(
    ("comment", "text"),
    [
        (COMMENT, "Steps: 3"),
        (b"UNICODE\0" + "Schritte: ü".encode("utf-16-be"), "Schritte: ü"),
        (b"\0" * 8 + b"Steps: 3", "Steps: 3"),
    ],
)
def test_comments(comment: bytes, text: str, order: str, entries: int) -> None:
    """A UserComment is read from all three types of files, in both byte orders and all of its codes."""
    field = exif(comment, order, entries=entries)
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x/>"
    for file in (
        saved("PNG", exif=field),
        saved("JPEG", exif=b"Exif\0\0" + field),
        saved("WEBP", exif=field),
        jpeg((0xFE, b"made by hand"), (0xE1, xmp), (0xE1, b"Exif\0\0" + field)),
    ):
        assert texts(file) == {KEY: text}
        assert opened(file).size == (16, 16)


def test_profile_of_imagemagick() -> None:
    """EXIF that ImageMagick keeps as text in a PNG is read, too."""
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif()):8}\n{(b'Exif' + bytes(2) + exif()).hex()}\n")
    assert texts(saved("PNG", pnginfo=info))[KEY] == "Steps: 3"


def test_text_beyond_a_mebibyte() -> None:
    """A text is cut where the bound is, and what comes after it is empty, compressed or not."""
    info = PngInfo()
    info.add_text("Long", "a" * (MAX_TEXT + 7), zip=True)
    info.add_text("Late", "b")
    info.add_text("Later", "b", zip=True)
    found = texts(saved("PNG", pnginfo=info))
    assert found == {"Long": "a" * MAX_TEXT, "Late": "", "Later": ""}


@pytest.mark.parametrize(
    "chunk",
    [
        b"zTXtkey\0\0no zlib",
        b"zTXtkey\0\0" + zlib.compress(b"x" * 99)[:9],
        b"zTXtkey",
        b"zTXt",
        b"iTXtkey\0\1\0\0\0no zlib",
        b"iTXtkey\0",
        b"iTXt\0\0\0\0\0\xff\xfe",
        b"tEXt",
        b"eXIf",
        b"eXIfMM\0*",
        b"eXIfMM\0*\xff\xff\xff\xff",
        b"eXIfMM\0*\0\0\0\x08\xff\xff\x87\x69",
    ],
)
def test_damaged(chunk: bytes) -> None:
    """A damaged text leaves the others to be read."""
    file = png(16, 16, "teal", "a lake")
    ihdr = 8 + 25
    damaged = file[:ihdr] + struct.pack(">I", len(chunk) - 4) + chunk + bytes(4) + file[ihdr:]
    assert texts(damaged)[KEY] == "a lake"


@given(st.binary(max_size=200), st.sampled_from([saved("PNG", exif=exif()), saved("JPEG"), saved("WEBP"), exif()]))
@pytest.mark.parametrize("cut", [lambda file, data: file[: len(data)] + data, lambda file, data: data + file])
def test_any_file(cut: Callable[[bytes, bytes], bytes], data: bytes, file: bytes) -> None:
    """Whatever a file holds, reading it ends, and gives texts."""
    assert isinstance(texts(cut(file, data)), dict)


@pytest.mark.parametrize("before", ["", "an older text"])
@pytest.mark.parametrize("text", ["a lake", "ein See mit Ü", "湖 dusk"])
def test_written(before: str, text: str) -> None:
    """A new text takes the old one's place, the pixels stay, and every checksum is right."""
    file = with_infotext(png(16, 16, "teal", before), text)
    assert texts(file) == {KEY: text}
    assert opened(file).tobytes() == opened(png(16, 16, "teal")).tobytes()


def test_not_written() -> None:
    """Other files stay as they are."""
    assert with_infotext(b"\xff\xd8\xff rest", "x") == b"\xff\xd8\xff rest"
