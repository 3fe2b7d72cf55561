"""The mark of generated images, read back by Pillow, by an XML parser and by exiftool."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import version
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from tests.support.tools import tool
from tintype.service.images.encode import Output, encode
from tintype.service.images.mark import MAX_JPEG_XMP, NAMESPACE, Mark, packet
from tintype.service.images.metadata import Parameters
from tintype.v1.limits import MIME_TYPES

if TYPE_CHECKING:
    from pathlib import Path

GREY = np.full((3, 16, 16), 0.5, np.float32)
PARAMETERS = Parameters(prompt="a boat", steps=1, guidance_scale=1, seed=0, width=16, height=16)
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
ODD = 'R&D <b> "quoted" 湖 🌄 \x00\x08\ufffe\ud800 end'


def fields(data: bytes) -> dict[str, str]:
    """Return IPTC's fields of an XMP packet, as an XML parser reads them."""
    begin, end = data.index(b"<x:xmpmeta"), data.index(b"<?xpacket end")
    prefix = f"{{{NAMESPACE}}}"
    found = ET.fromstring(data[begin:end]).iter()  # noqa: S314  # this project wrote it
    return {each.tag.removeprefix(prefix): each.text or "" for each in found if each.tag.startswith(prefix)}


@pytest.mark.parametrize("mime_type", MIME_TYPES)
def test_marks_each_type_of_file(mime_type: str) -> None:
    """PNG, JPEG and WebP have the packet where Pillow looks for it, and the parameters as before."""
    mark = Mark(model="sd15", prompt="a boat")
    marked = encode(GREY, Output(mime_type), parameters=PARAMETERS, mark=mark).data
    with Image.open(BytesIO(marked)) as image:
        image.load()
        assert fields(image.info["xmp"]) == {
            "DigitalSourceType": SOURCE,
            "AISystemUsed": "tintype, model sd15",
            "AISystemVersionUsed": version("tintype"),
            "AIPromptInformation": "a boat",
        }
        assert "parameters" in image.info or image.getexif()


@pytest.mark.parametrize("mime_type", MIME_TYPES)
def test_mark_does_not_change_the_pixels(mime_type: str) -> None:
    """A marked file has the pixels of the unmarked one, which has no packet."""
    plain, marked = (encode(GREY, Output(mime_type), mark=mark).data for mark in (None, Mark()))
    with Image.open(BytesIO(plain)) as one, Image.open(BytesIO(marked)) as other:
        assert one.tobytes() == other.tobytes()
        assert "xmp" not in one.info


def test_mark_without_metadata() -> None:
    """Without model and prompt the mark says only that the image was generated, or edited, and by what."""
    assert fields(packet(Mark(composite=True))) == {
        "DigitalSourceType": COMPOSITE,
        "AISystemUsed": "tintype",
        "AISystemVersionUsed": version("tintype"),
    }


def test_prompts_are_well_formed_xml() -> None:
    """Markup in a prompt is escaped, and characters that XML forbids are left out."""
    found = fields(packet(Mark(prompt=ODD)))["AIPromptInformation"]
    assert found == 'R&D <b> "quoted" 湖 🌄  end'


def test_long_prompts_are_cut_in_jpeg() -> None:
    """The packet of a JPEG fits into one segment; the source type is kept."""
    mark = Mark(prompt="🌄&" * 16_000)
    with Image.open(BytesIO(encode(GREY, Output("image/jpeg"), mark=mark).data)) as image:
        assert len(image.info["xmp"]) <= MAX_JPEG_XMP
        found = fields(image.info["xmp"])
    assert found["DigitalSourceType"] == SOURCE
    assert found["AIPromptInformation"].startswith("🌄&" * 1000)


@pytest.mark.slow
def test_exiftool_reads_the_mark(tmp_path: Path) -> None:
    """Exiftool finds the fields in each type of file, and calls the files valid."""
    exiftool = tool("exiftool", "libimage-exiftool-perl")
    mark = Mark(composite=True, model="sd15", prompt=ODD)
    for mime_type in MIME_TYPES:
        data = encode(GREY, Output(mime_type), mark=mark).data
        (tmp_path / f"image.{mime_type.rpartition('/')[2]}").write_bytes(data)
    modules = {"PERL5LIB": str(exiftool.parents[1] / "share" / "perl5")}
    done = subprocess.run(
        (exiftool, "-json", "-validate", "-XMP-iptcExt:all", tmp_path),
        capture_output=True,
        check=True,
        env=os.environ | modules,
        timeout=60,
    )
    found = json.loads(done.stdout)
    assert len(found) == len(MIME_TYPES)
    for each in found:
        assert each["Validate"] == "OK", each
        # Newer versions print a name for the address.
        assert each["DigitalSourceType"] in (COMPOSITE, "Composite with Trained Algorithmic Media"), each
        assert each["AISystemUsed"] == "tintype, model sd15"
        assert str(each["AISystemVersionUsed"]) == version("tintype")
        assert each["AIPromptInformation"].startswith("R&D <b>")
