"""Previews are enlarged to the size of the image."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image, PngImagePlugin

from tests.support.pixels import colour
from tintype.gateway.uploads.previews import enlarge_preview, size_from_start_image
from tintype.v1 import image_service_pb2 as pb


def encoded(mode: str = "RGB") -> bytes:
    file = BytesIO()
    Image.new(mode, (8, 4), "teal").save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("mime_type", "format_"), [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP")]
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_previews_are_enlarged(mime_type: str, format_: str, mode: str) -> None:
    """The file has the requested size and type and the same colour; the preview keeps its indexes."""
    small = pb.Preview(index=1, step=5, preview_index=2, data=encoded(mode), mime_type="image/png", width=8, height=4)
    large = enlarge_preview(small, (96, 64), mime_type)
    with Image.open(BytesIO(large.data)) as image, Image.open(BytesIO(small.data)) as before:
        assert (image.size, image.format) == ((96, 64), format_)
        pairs = zip(colour(image, (50, 30)), colour(before, (4, 2)), strict=True)
        assert all(abs(new - old) <= 4 for new, old in pairs)
    assert (large.index, large.step, large.preview_index) == (1, 5, 2)
    assert (large.width, large.height, large.mime_type) == (96, 64, mime_type)


@pytest.mark.parametrize("mime_type", ["image/png", "image/jpeg", "image/webp"])
def test_previews_keep_their_mark(mime_type: str) -> None:
    """The XMP packet of the service's preview is in the enlarged one."""
    info, packet, file = PngImagePlugin.PngInfo(), "<x:xmpmeta>é</x:xmpmeta>", BytesIO()
    info.add_itxt("XML:com.adobe.xmp", packet)
    Image.new("RGB", (8, 4), "teal").save(file, "PNG", pnginfo=info)
    large = enlarge_preview(pb.Preview(data=file.getvalue(), mime_type="image/png"), (96, 64), mime_type)
    with Image.open(BytesIO(large.data)) as image:
        assert image.info["xmp"] == packet.encode()


def test_previews_of_edits_have_the_size_of_their_latents() -> None:
    """Without a size, which only the service knows, a preview gets eight times its own."""
    large = enlarge_preview(pb.Preview(data=encoded(), mime_type="image/png"), (0, 0), "image/png")
    assert (large.width, large.height) == (64, 32)


@pytest.mark.parametrize(
    ("start_size", "requested", "expected"),
    [
        ((90, 66), (0, 0), (90, 66)),
        ((640, 320), (96, 0), (96, 48)),
        ((640, 320), (0, 64), (128, 64)),
        ((640, 320), (64, 64), (64, 64)),
        ((8, 4), (0, 0), (32, 16)),
        ((8000, 1000), (0, 0), (4096, 512)),
        ((8000, 16), (0, 0), (4096, 16)),
        ((1000, 50), (0, 4096), (4096, 4096)),
    ],
)
def test_size_from_start_image(
    start_size: tuple[int, int], requested: tuple[int, int], expected: tuple[int, int]
) -> None:
    """The size keeps the start image's aspect ratio within the contract's limits, as in the service."""
    assert size_from_start_image(start_size, *requested) == expected
