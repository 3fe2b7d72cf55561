"""Marks of images that a service sends, over a real channel."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.support.service.fakes import FakeRepository
from tintype.service.models.spec import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

COMPOSITE = b"compositeWithTrainedAlgorithmicMedia"


def png() -> bytes:
    """Return an image of 64x64 pixels."""
    file = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


def mark_of(data: bytes) -> bytes:
    """Return the XMP packet of a file; empty without one."""
    with Image.open(BytesIO(data)) as image:
        packet: bytes = image.info.get("xmp", b"")
        return packet


def run(running: Any, request: pb.StreamImagesRequest, **settings: Any) -> list[pb.StreamImagesResponse]:
    """Return the responses of a stream."""
    repository = FakeRepository()
    repository.forget(capabilities=frozenset({TEXT_TO_IMAGE, IMAGE_TO_IMAGE}))

    async def scenario() -> list[pb.StreamImagesResponse]:
        async with running(repository=repository, **settings) as here:
            return [response async for response in here.stub.StreamImages(request)]

    return asyncio.run(scenario())


def marks(responses: Iterable[pb.StreamImagesResponse]) -> list[bytes]:
    """Return the marks of previews and images."""
    files = ((each.preview.data, each.image.data) for each in responses)
    return [mark_of(preview or image) for preview, image in files if preview or image]


def test_images_are_marked_if_the_operator_wants_it(running: Any, make_request: Any) -> None:
    """With the setting, previews and images say that they were generated; without it, no file has a packet."""
    request = make_request(seed=5)
    request.previews.count = 1
    preview, image = marks(run(running, request, mark_images=True))
    for packet in (preview, image):
        assert b"/trainedAlgorithmicMedia<" in packet
    assert b"a lake" in image
    assert b"model first<" in image
    assert b"a lake" not in preview
    assert marks(run(running, request)) == [b"", b""]


def test_requests_cannot_leave_the_mark_out(running: Any, make_request: Any) -> None:
    """`omit_metadata` leaves prompt and model out of the mark, which stays."""
    request = make_request(seed=5, output=pb.OutputFormat(omit_metadata=True))
    *_, packet = marks(run(running, request, mark_images=True))
    assert b"/trainedAlgorithmicMedia<" in packet
    assert b"AISystemUsed>tintype<" in packet
    assert b"a lake" not in packet


@pytest.mark.parametrize(("strength", "marked"), [(0.5, True), (0.0, False)])
def test_edits_are_composites(running: Any, make_request: Any, strength: float, *, marked: bool) -> None:
    """An edit of the client's image is marked as such; an upload that is returned unchanged is not marked."""
    request = make_request(seed=5, image=png(), strength=strength)
    *_, packet = marks(run(running, request, mark_images=True))
    assert (COMPOSITE in packet) == bool(packet) == marked
