"""Start images over HTTP: base64, `data:` URL, URL, or a result link of the gateway."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.support.gateway.fakes import PATH, FakeService, Service, config, image, running_gateway
from tests.support.gateway.hosts import RESPONSES, ImageHost, running_host
from tests.support.gateway.samples import B64, LAKE, image_file
from tintype.gateway.errors import InvalidImage
from tintype.gateway.uploads.reading import check_image, decode_base64, decode_data_url
from tintype.v1 import image_header
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio


@pytest.fixture
async def host(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ImageHost]:
    monkeypatch.setitem(RESPONSES, "/lake", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + LAKE)
    async with running_host() as running:
        yield running


@pytest.mark.parametrize(
    "text", [B64, f"data:image/png;base64,{B64}", f"DATA:;BASE64,{B64}\n"], ids=["b64", "url", "odd"]
)
async def test_inline_images_arrive_as_files(gateway: httpx.AsyncClient, fake: FakeService, text: str) -> None:
    """Images in the JSON arrive as files, with the requested strength."""
    answer = await gateway.post(PATH, json={"prompt": "x", "image": text, "mask": text, "strength": 0.5})
    assert answer.status_code == 200, answer.text
    assert (fake.requests[0].image, fake.requests[0].mask, fake.requests[0].strength) == (LAKE, LAKE, 0.5)
    assert "x-tintype-ignored" not in answer.headers


@pytest.mark.parametrize("path", [PATH, "/images/generations", "/apipie/v1/images/generations"])
async def test_images_are_fetched_from_configured_hosts(
    service: Service, tmp_path: Path, host: ImageHost, path: str
) -> None:
    """A URL is fetched if its host is configured, in any spelling; the service gets the file."""
    settings = config(service, tmp_path, fetch_hosts=(f"LocalHost:{host.port}",))
    async with running_gateway(settings) as client:
        answer = await client.post(path, json={"prompt": "x", "image": f"http://localhost:{host.port}/lake"})
    assert answer.status_code == 200, answer.text
    assert service.fake.requests[0].image == LAKE


async def test_result_links_are_start_images(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """A result can be a start image by its link, although the gateway's host is internal."""
    behave = fake.behave

    async def lake(request: Any, context: Any) -> Any:
        async for event in behave(request, context):
            yield image(0, data=LAKE) if event.HasField("image") else event

    fake.behave = lake
    link = (await gateway.post(PATH, json={"prompt": "x"})).json()["data"][0]["url"]
    answer = await gateway.post(PATH, json={"prompt": "x", "image": link})
    assert answer.status_code == 200, answer.text
    assert fake.requests[1].image == LAKE
    for bad in (link[:-5] + "x.png", str(gateway.base_url) + "/files/"):
        answer = await gateway.post(PATH, json={"prompt": "x", "image": bad})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image_url")


async def test_previews_have_the_start_images_size(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """With a start image, previews have its size, not the model's."""

    async def with_preview(*_: Any) -> Any:
        yield pb.StreamImagesResponse(preview=pb.Preview(data=image_file(size=(3, 2)), mime_type="image/png"))
        yield image(0)
        yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))

    fake.behave = with_preview
    answer = await gateway.post(PATH, json={"prompt": "x", "image": B64, "stream": True, "partial_images": 1})
    event = msgspec.json.decode(answer.text.partition("data: ")[2].partition("\n")[0])
    assert event["type"] == "image_generation.partial_image"
    assert image_header.check(base64.b64decode(event["b64_json"])).size == (24, 16)


async def test_fetching_can_be_disabled(service: Service, tmp_path: Path, host: ImageHost) -> None:
    """If fetching is disabled, no request is sent."""
    settings = config(service, tmp_path, fetch=False, fetch_hosts=("127.0.0.1",))
    async with running_gateway(settings) as client:
        answer = await client.post(PATH, json={"prompt": "x", "image": f"http://127.0.0.1:{host.port}/lake"})
    assert answer.status_code == 400
    assert "does not fetch images by URL" in answer.json()["error"]["message"]
    assert host.requests == []


async def test_a_disconnect_cancels_the_fetch(service: Service, tmp_path: Path, host: ImageHost) -> None:
    """A disconnect of the client cancels the fetch."""
    settings = config(service, tmp_path, fetch_hosts=(f"127.0.0.1:{host.port}",))
    async with running_gateway(settings) as client:
        body = {"prompt": "x", "image": f"http://127.0.0.1:{host.port}/drip"}
        post = asyncio.create_task(client.post(PATH, json=body))
        await asyncio.wait_for(host.started.wait(), 30)
        post.cancel()
        await asyncio.wait_for(host.disconnected.wait(), 30)
    assert service.fake.requests == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "PNG, JPEG or WebP"),
        (b"GIF89a" + bytes(20), "PNG, JPEG or WebP"),
        (b"RIFF\0\0\0\0WAVE" + bytes(20), "PNG, JPEG or WebP"),
        (LAKE[:20], "is damaged"),
        (b"\xff\xd8\xff" + bytes(30), "is damaged"),
        (image_file(size=(8193, 1), mode="1"), "not 8193x1"),
        (image_file(size=(4097, 4096), mode="1"), "not 4097x4096"),
        (LAKE[:16] + (60_000).to_bytes(4, "big") * 2 + LAKE[24:], "at most 16777216 pixels|is damaged"),
        (LAKE + bytes(50_000_000), "at most 50000000 bytes"),
    ],
    ids=["empty", "gif", "wave", "cut", "jpeg", "wide", "large", "bomb", "long"],
)
def test_invalid_files_are_refused(data: bytes, why: str) -> None:
    """A file that is not an image, or decodes to too many pixels, is refused before it is decoded."""
    with pytest.raises(InvalidImage, match=why) as caught:
        check_image(data, "mask")
    assert caught.value.param == "mask"


@pytest.mark.parametrize("text", ["YQ==", "YQ", "YQ=", " Y Q\n=="])
def test_base64_spellings(text: str) -> None:
    """Base64 may have line breaks and lack padding."""
    assert decode_base64(text, "image") == b"a"
    assert decode_data_url(f"data:image/png;base64,{text}", "image") == b"a"
    assert decode_base64("-_-_", "image") == decode_base64("+/+/", "image")


@pytest.mark.parametrize(
    "url", ["data:image/png,abc", "data:image/png;base64", "data:", "data:;base64,%", "data:;base64,Y"]
)
def test_invalid_data_urls_are_refused(url: str) -> None:
    """Invalid base64 is refused as such."""
    with pytest.raises(InvalidImage, match="must be"):
        decode_data_url(url, "image")
