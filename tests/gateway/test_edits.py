"""Edits and variations over HTTP: by OpenAI's own SDK, by forms as other clients send them, and by JSON."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import msgspec
import openai
import pytest
from PIL import Image

from tests.support.gateway.fakes import PNG, FakeService, image
from tests.support.gateway.openai_errors import check_error
from tests.support.gateway.samples import B64, LAKE, image_file
from tintype.gateway.dialects.openai_edits import STRENGTHS, parse_edit, parse_variation
from tintype.gateway.errors import BadRequest
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.anyio

EDITS, VARIATIONS = "/v1/images/edits", "/v1/images/variations"
MASK = image_file(mode="RGBA")
OTHER = image_file("JPEG")
REQUEST = "invalid_request_error"


class TestSdk:
    async def test_edit_returns_base64(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """An edit with an image, a mask and a prompt returns base64, as editing models do."""
        answer = await sdk.images.edit(
            image=("lake.png", LAKE), mask=("mask.png", MASK), prompt="a boat", n=2, size="512x512", model="dall-e-2"
        )
        assert answer.data is not None
        assert [base64.b64decode(one.b64_json or "") for one in answer.data] == [PNG + b"\0", PNG + b"\1"]
        sent = fake.requests[0]
        assert (sent.image, sent.mask, sent.prompt) == (LAKE, MASK, "a boat")
        assert (sent.count, sent.width, sent.height, sent.strength) == (2, 512, 512, STRENGTHS["masked"])

    async def test_first_of_several_images_is_edited(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """Of several images the first is edited, and a header names the others."""
        raw = await sdk.images.with_raw_response.edit(image=[LAKE, OTHER, MASK], prompt="x")
        assert raw.headers["x-tintype-ignored"] == "image[1], image[2]"
        assert fake.requests[0].image == LAKE

    async def test_links_on_request(self, sdk: openai.AsyncOpenAI, gateway: httpx.AsyncClient) -> None:
        """Links are returned on request."""
        answer = await sdk.images.edit(image=LAKE, prompt="x", response_format="url")
        assert answer.data is not None
        assert (await gateway.get(str(answer.data[0].url))).content == PNG + b"\0"

    async def test_stream_has_edit_events(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """A stream has the events of edits, as the SDK types them."""

        async def with_preview(*_: Any) -> Any:
            yield pb.StreamImagesResponse(preview=pb.Preview(data=image_file(), mime_type="image/png"))
            yield image(0)
            yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))

        fake.behave = with_preview
        events = [event async for event in await sdk.images.edit(image=LAKE, prompt="x", stream=True, partial_images=2)]
        assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
        assert base64.b64decode(events[1].b64_json) == PNG + b"\0"
        assert fake.previews[0].count == 2

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    async def test_variation_needs_only_an_image(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """An image alone is sufficient."""
        answer = await sdk.images.create_variation(image=LAKE, n=2, response_format="b64_json", size="256x256")
        assert answer.data is not None
        assert [base64.b64decode(one.b64_json or "") for one in answer.data] == [PNG + b"\0", PNG + b"\1"]
        sent = fake.requests[0]
        assert (sent.image, sent.width, sent.guidance_scale) == (LAKE, 256, 1)
        assert sent.strength == pytest.approx(STRENGTHS["variation"])
        assert sent.prompt

    async def test_invalid_image_names_the_field(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """A file that is not an image is the SDK's error, with OpenAI's code."""
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.images.edit(image=("notes.png", b"to buy: milk, bread"), prompt="x")
        assert (caught.value.code, caught.value.param) == ("invalid_image_file", "image")
        assert fake.requests == []


def half_transparent(alpha: int = 0, kind: str = "PNG") -> bytes:
    """Return an image of 24x16 pixels whose left half has an alpha of `alpha`, and whose right half is opaque."""
    image = Image.new("RGBA", (24, 16), (10, 20, 30, 255))
    image.paste((10, 20, 30, alpha), (0, 0, 12, 16))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


class TestTransparency:
    @pytest.mark.parametrize("path", [EDITS, "/api/ai/images/edit"])
    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    async def test_transparent_parts_are_the_mask(
        self, gateway: httpx.AsyncClient, fake: FakeService, path: str, kind: str
    ) -> None:
        """Without a mask, transparent parts are repainted, with the strength of a mask."""
        data = f"data:image/x;base64,{base64.b64encode(half_transparent(kind=kind)).decode()}"
        answer = await gateway.post(path, json={"model": "tiny", "prompt": "x", "image": data})
        assert answer.status_code == 200, answer.text
        with Image.open(io.BytesIO(fake.requests[0].mask)) as mask:
            assert (mask.mode, mask.size) == ("L", (24, 16))
            assert (mask.getpixel((0, 0)), mask.getpixel((23, 0))) == (255, 0)
        assert fake.requests[0].strength == STRENGTHS["masked"]
        assert "x-tintype-ignored" not in answer.headers

    @pytest.mark.parametrize("data", [half_transparent(255), half_transparent(200), LAKE])
    async def test_opaque_image_has_no_mask(self, gateway: httpx.AsyncClient, fake: FakeService, data: bytes) -> None:
        """An opaque image, or one that is nowhere more than half transparent, has no mask."""
        answer = await gateway.post(EDITS, files={"image": ("a.png", data), "prompt": (None, "x")})
        assert answer.status_code == 200, answer.text
        assert fake.requests[0].mask == b""
        assert fake.requests[0].strength == pytest.approx(STRENGTHS["low"])

    async def test_mask_and_strength_take_precedence(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A mask in the request replaces that of the image, and a strength in the request is used."""
        data = base64.b64encode(half_transparent()).decode()
        await gateway.post(EDITS, json={"prompt": "x", "image": data, "mask": B64})
        await gateway.post(EDITS, json={"prompt": "x", "image": data, "strength": 0.5})
        assert fake.requests[0].mask == LAKE
        assert fake.requests[1].strength == 0.5

    @pytest.mark.parametrize("path", [VARIATIONS, "/v1/images/generations"])
    async def test_transparency_is_a_mask_only_in_edits(
        self, gateway: httpx.AsyncClient, fake: FakeService, path: str
    ) -> None:
        """A variation, or a generation from an image, changes the whole image."""
        body = {"prompt": "x", "image": base64.b64encode(half_transparent()).decode()}
        assert (await gateway.post(path, json=body)).status_code == 200
        assert fake.requests[0].mask == b""


class TestJson:
    async def test_images_by_url(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """OpenAI's JSON format: images by URL, and the mask, too."""
        url = {"image_url": f"data:image/png;base64,{B64}"}
        answer = await gateway.post(EDITS, json={"prompt": "x", "images": [url, url], "mask": url})
        assert answer.status_code == 200, answer.text
        assert (fake.requests[0].image, fake.requests[0].mask) == (LAKE, LAKE)
        assert answer.headers["x-tintype-ignored"] == "images[1]"

    @pytest.mark.parametrize(
        ("body", "code", "param", "expected"),
        [
            ({"images": [{"file_id": "f"}]}, "invalid_value", "images[0]", "'file_id' is not supported"),
            ({"images": [{"url": "x"}]}, "invalid_value", "images[0]", "data: URL or base64, not 'url'"),
            ({"images": [B64, {"b64_json": B64}]}, "invalid_value", "images[1]", "base64, not 'b64_json'"),
            ({"images": [{}]}, "invalid_value", "images[0]", "must have 'image_url', a URL"),
            ({"images": ["bad"]}, "invalid_image_file", "images[0]", "PNG, JPEG or WebP"),
            ({"images": [B64] * 17}, "invalid_value", "images", "must be a list of 1 to 16 images, got 17."),
            ({}, "invalid_value", "image", "is missing, and must be a PNG"),
            ({"images": []}, "invalid_value", "images", "1 to 16"),
            ({"images": [{}] * 17}, "invalid_value", "images", "a list of 1 to 16 images"),
            ({"images": "x"}, "invalid_value", "images", "a list of 1 to 16 images"),
            ({"image": 7}, "invalid_value", "image", "PNG, JPEG or WebP"),
            ({"image": B64, "mask": {"file_id": "f"}}, "invalid_value", "mask", "image_url"),
            ({"images": [{"image_url": "http://127.0.0.1/"}]}, "invalid_image_url", "images[0]", "no public address"),
            ({"images": [{"image_url": "aGVsbG8="}]}, "invalid_image_file", "images[0]", "PNG, JPEG or WebP"),
        ],
        ids=str,
    )
    async def test_error_names_the_clients_key(
        self, gateway: httpx.AsyncClient, body: dict[str, Any], code: str, param: str, expected: str
    ) -> None:
        """An error names the client's own key."""
        answer = await gateway.post(EDITS, json={"prompt": "x"} | body)
        assert expected in check_error(answer, 400, REQUEST, code, param)

    async def test_variation_needs_only_an_image(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A variation responds as configured, and does not stream."""
        answer = await gateway.post(VARIATIONS, json={"image": B64})
        assert "url" in answer.json()["data"][0]
        assert fake.requests[0].image == LAKE
        answer = await gateway.post(VARIATIONS, json={"image": B64, "stream": True})
        check_error(answer, 400, REQUEST, "unsupported_parameter", "stream")

    async def test_oxens_edit(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Oxen's edit has its own keys and its own format of responses."""
        path, body = "/api/ai/images/edit", {"model": "tiny", "prompt": "x", "image": B64, "mask": B64, "size": "64x32"}
        answer = await gateway.post(path, json=body | {"response_format": "b64_json"})
        assert set(answer.json()) == {"model", "created", "images"}
        sent = fake.requests[0]
        assert (sent.image, sent.mask, sent.width, sent.strength) == (LAKE, LAKE, 64, STRENGTHS["masked"])
        assert "x-tintype-ignored" not in answer.headers
        for bad in ({"prompt": "x"}, {"prompt": "x", "image": "aGVsbG8="}):
            answer = await gateway.post(path, json=bad)
            assert (answer.status_code, answer.json()["status"]) == (400, "error")
            assert "image" in answer.json()["error"]["detail"]
        answer = await gateway.post(path, json={"prompt": "x"})
        assert "Invalid 'image': is missing, and must be" in answer.json()["error"]["detail"]
        answer = await gateway.post(path, json={"prompt": "x", "images": [B64]})
        assert "as 'image', which may be a list, not as 'images'" in answer.json()["error"]["detail"]


@pytest.mark.parametrize(
    ("body", "strength"),
    [
        ({}, "low"),
        ({"input_fidelity": "low"}, "low"),
        ({"input_fidelity": "high"}, "high"),
        ({"mask": b"m", "input_fidelity": "high"}, "masked"),
    ],
)
def test_default_strengths(body: dict[str, Any], strength: str) -> None:
    """Without a strength the default of the case is used; a given strength is used, also 0."""
    call = parse_edit({"prompt": "x", "image": b"i"} | body)
    assert call.request.strength == pytest.approx(STRENGTHS[strength])
    assert parse_edit({"prompt": "x", "image": b"i", "strength": "0"} | body).request.strength == 0
    assert parse_variation({"image": b"i", "strength": 0}).request.strength == 0


def test_variation_prompt_guides() -> None:
    """A prompt in the request guides as usual."""
    call = parse_variation({"image": b"i", "prompt": "a boat"})
    assert call.request.prompt == "a boat"
    assert not call.request.HasField("guidance_scale")


@pytest.mark.parametrize("parse", [parse_edit, parse_variation])
@pytest.mark.parametrize("value", [None, "", b"", [], [None], [""], [[b"x"]], {}, {"image_url": 7}, 7, True])
def test_invalid_image_names_the_field(parse: Any, value: Any) -> None:
    """A value that is not an image is a bad request that names the field."""
    with pytest.raises(BadRequest) as caught:
        parse({"prompt": "x", "image": value})
    assert caught.value.param == ("image[0]" if isinstance(value, list) and value else "image")


async def test_openapi_describes_forms_and_json(gateway: httpx.AsyncClient) -> None:
    """The document says that they accept forms and JSON."""
    described = msgspec.json.decode((await gateway.get("/openapi.json")).content)
    for path in (EDITS, VARIATIONS):
        content = described["paths"][path]["post"]["requestBody"]["content"]
        assert set(content) == {"application/json", "multipart/form-data"}
    assert set(described["components"]["schemas"]) >= {"EditRequest", "VariationRequest", "OxenEditRequest"}
