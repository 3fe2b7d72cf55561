"""`POST /v1/images/upscales` with a real gRPC server."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    import httpx

    from tests.support.gateway.fakes import FakeService

pytestmark = pytest.mark.anyio
PATH = "/v1/images/upscales"


def png(width: int = 12, height: int = 8) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


def data_url(file: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"


async def test_an_image_is_enlarged_as_json(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """JSON with a data URL gives the file as base64, in the type asked for; without a factor it is 2."""
    body = {"image": data_url(png()), "factor": 4, "output_format": "webp", "response_format": "b64_json"}
    answer = await gateway.post(PATH, json=body)
    assert answer.status_code == 200
    image = Image.open(BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"])))
    assert (image.size, image.format, answer.json()["output_format"]) == ((48, 32), "WEBP", "webp")
    await gateway.post(PATH, json={"image": data_url(png()), "odd": 1})
    assert [request.factor for request in fake.upscaled] == [4, 0]


async def test_a_form_gives_a_link(gateway: httpx.AsyncClient) -> None:
    """A form with a file gives a link by default, which needs no key; unknown fields are named."""
    answer = await gateway.post(PATH, data={"factor": "2", "odd": "1"}, files={"image": ("a.png", png())})
    file = await gateway.get(answer.json()["data"][0]["url"])
    assert Image.open(BytesIO(file.content)).size == (24, 16)
    assert answer.headers["x-tintype-ignored"] == "odd"


@pytest.mark.parametrize(
    ("body", "param", "text"),
    [
        ({"image": data_url(png()), "factor": 3}, "factor", "must be 2 or 4, not 3"),
        ({"factor": 2}, "image", "is missing"),
        ({"image": "data:image/png;base64,AAAA"}, "image", "PNG"),
    ],
)
async def test_wrong_requests_are_refused(
    gateway: httpx.AsyncClient, fake: FakeService, body: dict[str, Any], param: str, text: str
) -> None:
    """The error names the field, and the service is not called."""
    answer = await gateway.post(PATH, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert text in answer.json()["error"]["message"]
    assert not fake.upscaled
