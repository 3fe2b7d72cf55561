"""The texts inside image files: those that programs write, and damaged ones."""

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

from tests.support.gateway.bodies import open_image, png
from tintype.service.images.encode import ENCODERS, Notes, Output
from tintype.service.images.mark import Mark
from tintype.service.images.metadata import Parameters
from tintype.v1.image_texts import KEY, MAX_TEXT, read_texts

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


def encode_image(kind: str, **options: object) -> bytes:
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
    return b"\xff\xd8" + b"".join(parts) + encode_image("JPEG")[2:]


@pytest.mark.parametrize("kind", ENCODERS)
def test_reads_texts_of_the_service(kind: str) -> None:
    """Texts that the service writes into files of any type are read unchanged, also beside a mark."""
    file = BytesIO()
    ENCODERS[kind](Image.new("RGB", (16, 16)), file, Output(kind), Notes(PARAMETERS, Mark(prompt="a boat")))
    assert read_texts(file.getvalue())[KEY] == str(PARAMETERS)


def test_reads_all_text_chunks_of_png() -> None:
    """All three text chunks of PNG are read, before and after the pixels; of two with the same key, the last."""
    info = PngInfo()
    info.add(b"tEXt", KEY.encode() + b"\0late", after_idat=True)
    info.add_text("Old", "x")
    info.add_text("Old", "plain ü")
    info.add_text("Packed", "ö" * 5000, zip=True)
    info.add_itxt("International", "湖", lang="zh", tkey="湖")
    info.add_itxt("Both", "湖" * 5000, zip=True)
    assert read_texts(encode_image("PNG", pnginfo=info)) == {
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
def test_reads_user_comments(comment: bytes, text: str, order: str, entries: int) -> None:
    """A UserComment is read from all three types of files, in both byte orders and all of its encodings."""
    field = exif(comment, order, entries=entries)
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x/>"
    for file in (
        encode_image("PNG", exif=field),
        encode_image("JPEG", exif=b"Exif\0\0" + field),
        encode_image("WEBP", exif=field),
        jpeg((0xFE, b"made by hand"), (0xE1, xmp), (0xE1, b"Exif\0\0" + field)),
    ):
        assert read_texts(file) == {KEY: text}
        assert open_image(file).size == (16, 16)


def test_reads_imagemagicks_exif_profile() -> None:
    """EXIF that ImageMagick stores as text in a PNG is read, too."""
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif()):8}\n{(b'Exif' + bytes(2) + exif()).hex()}\n")
    assert read_texts(encode_image("PNG", pnginfo=info))[KEY] == "Steps: 3"


def test_texts_are_cut_off_at_the_limit() -> None:
    """Texts are cut off at the limit, compressed or not, and the texts after it are empty."""
    info = PngInfo()
    info.add_text("Long", "a" * (MAX_TEXT + 7), zip=True)
    info.add_text("Late", "b")
    info.add_text("Later", "b", zip=True)
    found = read_texts(encode_image("PNG", pnginfo=info))
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
def test_damaged_text_does_not_affect_others(chunk: bytes) -> None:
    """A damaged text does not affect the others."""
    file = png(16, 16, "teal", "a lake")
    ihdr = 8 + 25
    damaged = file[:ihdr] + struct.pack(">I", len(chunk) - 4) + chunk + bytes(4) + file[ihdr:]
    assert read_texts(damaged)[KEY] == "a lake"


@given(
    st.binary(max_size=200),
    st.sampled_from([encode_image("PNG", exif=exif()), encode_image("JPEG"), encode_image("WEBP"), exif()]),
)
@pytest.mark.parametrize("cut", [lambda file, data: file[: len(data)] + data, lambda file, data: data + file])
def test_any_file_is_read(cut: Callable[[bytes, bytes], bytes], data: bytes, file: bytes) -> None:
    """Reading ends for any file, and returns texts."""
    assert isinstance(read_texts(cut(file, data)), dict)
