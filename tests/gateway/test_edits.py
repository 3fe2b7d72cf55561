"""Edits and variations over HTTP: by OpenAI's own SDK, by forms as other clients send them, and by JSON."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec
import openai
import pytest

from tintype.gateway.dialects.openai_edits import STRENGTHS, parse_edit, parse_variation
from tintype.gateway.errors import BadRequest
from tintype.gateway.forms import gathered
from tintype.v1 import image_service_pb2 as pb

from .fakes import PNG, FakeService, Service, config, image, running_gateway
from .openai_errors import check_error
from .test_pictures import B64, LAKE, picture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio

EDITS, VARIATIONS = "/v1/images/edits", "/v1/images/variations"
MASK = picture(mode="RGBA")
OTHER = picture("JPEG")
REQUEST = "invalid_request_error"


def file(data: bytes = LAKE) -> tuple[str, bytes, str]:
    """A part as browsers send it, whose name and type say nothing true."""
    return ("x.bin", data, "application/octet-stream")


@pytest.fixture
async def sdk(gateway: httpx.AsyncClient) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.base_url}/v1", api_key="any", max_retries=0) as client:
        yield client


class TestSdk:
    async def test_edit(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """A picture, a mask and a prompt; the answer is base64, as editing models answer."""
        answer = await sdk.images.edit(
            image=("lake.png", LAKE), mask=("mask.png", MASK), prompt="a boat", n=2, size="512x512", model="dall-e-2"
        )
        assert answer.data is not None
        assert [base64.b64decode(one.b64_json or "") for one in answer.data] == [PNG + b"\0", PNG + b"\1"]
        asked = fake.requests[0]
        assert (asked.image, asked.mask, asked.prompt) == (LAKE, MASK, "a boat")
        assert (asked.count, asked.width, asked.height, asked.strength) == (2, 512, 512, STRENGTHS["masked"])

    async def test_several(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """Of several pictures the first is edited, and a header names the others."""
        raw = await sdk.images.with_raw_response.edit(image=[LAKE, OTHER, MASK], prompt="x")
        assert raw.headers["x-tintype-ignored"] == "image[1], image[2]"
        assert fake.requests[0].image == LAKE

    async def test_link(self, sdk: openai.AsyncOpenAI, gateway: httpx.AsyncClient) -> None:
        """A link is given to those that ask for it."""
        answer = await sdk.images.edit(image=LAKE, prompt="x", response_format="url")
        assert answer.data is not None
        assert (await gateway.get(str(answer.data[0].url))).content == PNG + b"\0"

    async def test_stream(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """A stream has the events of edits, as the SDK types them."""

        async def with_preview(*_: Any) -> Any:
            yield pb.StreamImagesResponse(preview=pb.Preview(data=picture(), mime_type="image/png"))
            yield image(0)
            yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))

        fake.behave = with_preview
        events = [event async for event in await sdk.images.edit(image=LAKE, prompt="x", stream=True, partial_images=2)]
        assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
        assert base64.b64decode(events[1].b64_json) == PNG + b"\0"
        assert fake.previews[0].count == 2

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    async def test_variation(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """A picture alone is enough."""
        answer = await sdk.images.create_variation(image=LAKE, n=2, response_format="b64_json", size="256x256")
        assert answer.data is not None
        assert [base64.b64decode(one.b64_json or "") for one in answer.data] == [PNG + b"\0", PNG + b"\1"]
        asked = fake.requests[0]
        assert (asked.image, asked.width, asked.guidance_scale) == (LAKE, 256, 1)
        assert asked.strength == pytest.approx(STRENGTHS["variation"])
        assert asked.prompt

    async def test_no_picture(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """A file that is no picture is the SDK's error, with OpenAI's code."""
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.images.edit(image=("notes.png", b"to buy: milk, bread"), prompt="x")
        assert (caught.value.code, caught.value.param) == ("invalid_image_file", "image")
        assert fake.requests == []


class TestForms:
    @pytest.mark.parametrize("name", ["image", "image[]", "image[0]"])
    @pytest.mark.parametrize("path", [EDITS, "/images/edits", "/aqueduct/v1/images/edits", "/apipie/v1/images/edits"])
    async def test_names(self, gateway: httpx.AsyncClient, fake: FakeService, name: str, path: str) -> None:
        """A picture arrives under every name that clients give it, on every path; the file's own name says nothing."""
        answer = await gateway.post(path, data={"prompt": "x"}, files=[(name, file())])
        assert answer.status_code == 200, answer.text
        assert "b64_json" in answer.json()["data"][0]
        assert fake.requests[0].image == LAKE

    async def test_repeated(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """One name several times is a list, too."""
        answer = await gateway.post(EDITS, data={"prompt": "x"}, files=[("image", file()), ("image", file(OTHER))])
        assert answer.headers["x-tintype-ignored"] == "image[1]"
        assert fake.requests[0].image == LAKE

    async def test_text(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Numbers and truths come as text, pictures may, and what is empty is absent."""
        fields = {"prompt": "x", "n": "2", "seed": "7", "strength": "0.25", "guidance_scale": "5", "stream": "false"}
        rest = {"image": B64, "mask": "", "user": "", "quality": "", "background": "auto", "odd": "1"}
        answer = await gateway.post(EDITS, data=fields | rest, files=[("mask", ("", b""))])
        assert answer.status_code == 200, answer.text
        asked = fake.requests[0]
        assert (asked.image, asked.mask, asked.count, asked.seed) == (LAKE, b"", 2, 7)
        assert (asked.strength, asked.guidance_scale) == (0.25, 5)
        assert answer.headers["x-tintype-ignored"] == "odd"

    @pytest.mark.parametrize(
        ("fields", "files", "code", "param", "told"),
        [
            ({}, [("image", file())], None, "prompt", "empty string"),
            ({"prompt": "x"}, [("odd", file())], "invalid_value", "image", "PNG, JPEG or WebP"),
            ({"prompt": "x"}, [("image", file())] * 17, "invalid_value", "image", "1 to 16 pictures, not 17"),
            ({"prompt": "x"}, [("image", file(b"GIF89a"))], "invalid_image_file", "image", "PNG, JPEG or WebP"),
            ({"prompt": "x"}, [("image", file()), ("mask", file(b"no"))], "invalid_image_file", "mask", "PNG"),
            ({"prompt": "x", "n": "many"}, [("image", file())], "invalid_value", "n", "from 1 to 10, not 'many'"),
            ({"prompt": "x", "n": "11"}, [("image", file())], "invalid_value", "n", "not '11'"),
            ({"prompt": "x", "stream": "maybe"}, [("image", file())], "invalid_value", "stream", "true or false"),
            (
                {"prompt": "x", "input_fidelity": "odd"},
                [("image", file())],
                "invalid_value",
                "input_fidelity",
                "'high'",
            ),
        ],
        ids=range(9),
    )
    async def test_bad(
        self,
        gateway: httpx.AsyncClient,
        fake: FakeService,
        fields: dict[str, str],
        files: list[Any],
        code: str | None,
        param: str,
        told: str,
    ) -> None:
        """What is wrong is named, and nothing reaches the service."""
        answer = await gateway.post(EDITS, data=fields, files=files)
        assert told in check_error(answer, 400, REQUEST, code, param)
        assert fake.requests == []

    @pytest.mark.parametrize(
        ("kind", "body", "status"),
        [
            ("multipart/form-data", b"x", 400),
            ("multipart/form-data; boundary=b", b"no form", 400),
            ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", 400),
            (
                "multipart/form-data; boundary=b",
                b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff\xfe\r\n--b--\r\n',
                400,
            ),
            ("multipart/form-data; boundary=b", b"x" * 100_001, 413),
            ("application/x-www-form-urlencoded", b"prompt=x", 415),
            ("application/json", b"[]", 400),
        ],
        ids=["no boundary", "no form", "no name", "no text", "long", "urlencoded", "list"],
    )
    async def test_no_form(self, gateway: httpx.AsyncClient, kind: str, body: bytes, status: int) -> None:
        """What is no form is a bad request, and never a fault."""
        answer = await gateway.post(EDITS, content=body, headers={"content-type": kind})
        check_error(answer, status, REQUEST, None, None)

    async def test_too_many_parts(self, gateway: httpx.AsyncClient) -> None:
        """A form of more parts than are read is told so."""
        answer = await gateway.post(EDITS, data={f"x{i}": "" for i in range(1001)}, files=[("image", file())])
        assert "too many parts" in check_error(answer, 400, REQUEST, None, None)

    async def test_what_an_edit_may_be(self, gateway: httpx.AsyncClient) -> None:
        """Whoever sends another type hears of both that would be right."""
        answer = await gateway.post(EDITS, data={"prompt": "x"})
        said = check_error(answer, 415, REQUEST, None, None)
        assert "'application/json' or 'multipart/form-data', not 'application/x-www-form-urlencoded'" in said

    async def test_not_for_generations(self, gateway: httpx.AsyncClient) -> None:
        """Pictures without an origin are asked for in JSON alone."""
        answer = await gateway.post("/v1/images/generations", data={"prompt": "x"}, files=[("image", file())])
        check_error(answer, 415, REQUEST, None, None)

    async def test_repeats(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A form that comes again is the same, though its boundary is another."""
        headers = {"idempotency-key": "edit"}
        first, again = [
            await gateway.post(EDITS, data={"prompt": "x"}, files=[("image", file())], headers=headers) for _ in "12"
        ]
        assert (first.status_code, again.headers["idempotent-replayed"]) == (200, "true")
        assert len(fake.requests) == 1
        other = await gateway.post(EDITS, data={"prompt": "y"}, files=[("image", file())], headers=headers)
        assert other.status_code == 422

    async def test_large(self, service: Service, tmp_path: Path) -> None:
        """A file of several megabytes comes whole."""
        large = LAKE + bytes(5_000_000)
        async with running_gateway(config(service, tmp_path)) as client:
            answer = await client.post(EDITS, data={"prompt": "x"}, files=[("image", file(large))])
            assert answer.status_code == 200, answer.text
            assert service.fake.requests[0].image == large
            answer = await client.post(EDITS, data={"prompt": "x"}, files=[("image", file(LAKE + bytes(50_000_000)))])
            half = file(LAKE + bytes(32_000_000))
            both = await client.post(EDITS, data={"prompt": "x"}, files=[("image", half), ("mask", half)])
        assert "at most 50000000 bytes" in check_error(answer, 400, REQUEST, "invalid_image_file", "image")
        assert "at most 64000000 bytes" in check_error(both, 400, REQUEST, "invalid_image_file", "mask")


class TestJson:
    async def test_images(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """OpenAI's form of it: pictures by URL, and the mask, too."""
        url = {"image_url": f"data:image/png;base64,{B64}"}
        answer = await gateway.post(EDITS, json={"prompt": "x", "images": [url, url], "mask": url})
        assert answer.status_code == 200, answer.text
        assert (fake.requests[0].image, fake.requests[0].mask) == (LAKE, LAKE)
        assert answer.headers["x-tintype-ignored"] == "images[1]"

    @pytest.mark.parametrize(
        ("body", "code", "param", "told"),
        [
            ({"images": [{"file_id": "f"}]}, "invalid_value", "images", "image_url"),
            ({"images": []}, "invalid_value", "images", "1 to 16"),
            ({"images": [{}] * 17}, "invalid_value", "images", "a list of {image_url}"),
            ({"images": "x"}, "invalid_value", "images", "a list of {image_url}"),
            ({"image": 7}, "invalid_value", "image", "PNG, JPEG or WebP"),
            ({"image": B64, "mask": {"file_id": "f"}}, "invalid_value", "mask", "image_url"),
            ({"images": [{"image_url": "http://127.0.0.1/"}]}, "invalid_image_url", "images", "no public address"),
            ({"images": [{"image_url": "aGVsbG8="}]}, "invalid_image_file", "images", "PNG, JPEG or WebP"),
        ],
        ids=str,
    )
    async def test_bad(
        self, gateway: httpx.AsyncClient, body: dict[str, Any], code: str, param: str, told: str
    ) -> None:
        """What is wrong is named in the client's own word."""
        answer = await gateway.post(EDITS, json={"prompt": "x"} | body)
        assert told in check_error(answer, 400, REQUEST, code, param)

    async def test_variation(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A variation answers as the configuration says, and does not stream."""
        answer = await gateway.post(VARIATIONS, json={"image": B64})
        assert "url" in answer.json()["data"][0]
        assert fake.requests[0].image == LAKE
        answer = await gateway.post(VARIATIONS, json={"image": B64, "stream": True})
        check_error(answer, 400, REQUEST, "unsupported_parameter", "stream")

    async def test_oxen(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Oxen's editing has its words and its shape of answers."""
        path, body = "/api/ai/images/edit", {"model": "tiny", "prompt": "x", "image": B64, "mask": B64, "size": "64x32"}
        answer = await gateway.post(path, json=body | {"response_format": "b64_json"})
        assert set(answer.json()) == {"model", "created", "images"}
        asked = fake.requests[0]
        assert (asked.image, asked.mask, asked.width, asked.strength) == (LAKE, LAKE, 64, STRENGTHS["masked"])
        assert "x-tintype-ignored" not in answer.headers
        for bad in ({"prompt": "x"}, {"prompt": "x", "image": "aGVsbG8="}):
            answer = await gateway.post(path, json=bad)
            assert (answer.status_code, answer.json()["status"]) == (400, "error")
            assert "image" in answer.json()["error"]["detail"]


@pytest.mark.parametrize(
    ("body", "strength"),
    [
        ({}, "low"),
        ({"input_fidelity": "low"}, "low"),
        ({"input_fidelity": "high"}, "high"),
        ({"mask": b"m", "input_fidelity": "high"}, "masked"),
    ],
)
def test_strength(body: dict[str, Any], strength: str) -> None:
    """Without a strength there is one that suits; a strength that is asked for counts, also 0."""
    call = parse_edit({"prompt": "x", "image": b"i"} | body)
    assert call.request.strength == pytest.approx(STRENGTHS[strength])
    assert parse_edit({"prompt": "x", "image": b"i", "strength": "0"} | body).request.strength == 0
    assert parse_variation({"image": b"i", "strength": 0}).request.strength == 0


def test_variation_with_prompt() -> None:
    """A prompt of one's own guides as usual."""
    call = parse_variation({"image": b"i", "prompt": "a boat"})
    assert call.request.prompt == "a boat"
    assert not call.request.HasField("guidance_scale")


@pytest.mark.parametrize("parse", [parse_edit, parse_variation])
@pytest.mark.parametrize("value", [None, "", b"", [], [None], [""], [[b"x"]], {}, {"image_url": 7}, 7, True])
def test_no_picture(parse: Any, value: Any) -> None:
    """What is no picture is a bad request that names the field."""
    with pytest.raises(BadRequest) as caught:
        parse({"prompt": "x", "image": value})
    assert caught.value.param == "image"


def test_gathered() -> None:
    """Lists come in several spellings; text that looks like one inside stays as it is."""
    parts = [
        ("a", "1"),
        ("b[]", "2"),
        ("c[0]", "3"),
        ("c[1]", b"4"),
        ("d", "5"),
        ("d", "6"),
        ("d", "7"),
        ("e", ""),
        ("f[x]", "8"),
    ]
    assert gathered(parts) == {"a": "1", "b": ["2"], "c": ["3", b"4"], "d": ["5", "6", "7"], "f[x]": "8"}


@pytest.mark.parametrize(
    "names",
    [
        ("loras[][name]", "loras[][name]", "loras[][weight]", "loras[][weight]"),  # the openai SDK's order
        ("loras[0][name]", "loras[1][name]", "loras[0][weight]", "loras[1][weight]"),
        ("loras[4][name]", "loras[7][name]", "loras[4][weight]", "loras[7][weight]"),
    ],
)
def test_adapters_in_a_form(names: tuple[str, ...]) -> None:
    """A list of objects comes field by field, and each gets its own."""
    body = gathered([("prompt", "x"), ("image", b"i"), *zip(names, ("ink", "pen", "0.5", "1"), strict=True)])
    assert list(parse_edit(body).request.loras) == [pb.Lora(name="ink", weight=0.5), pb.Lora(name="pen", weight=1.0)]


def test_adapters_in_a_form_as_json() -> None:
    """As JSON text, too, as it is typed for curl; other text is told what it should be."""
    form = {"prompt": "x", "image": b"i"}
    assert parse_edit({**form, "loras": '[{"name": "ink"}]'}).request.loras[0].name == "ink"
    assert parse_variation({**form, "loras": '[{"name": "ink", "weight": 2}]'}).request.loras[0].weight == 2
    for text in ("ink", "[", "7"):
        with pytest.raises(BadRequest, match=r"list of \{name") as caught:
            parse_edit({**form, "loras": text})
        assert caught.value.param == "loras"


def test_adapters_in_a_form_that_can_not_be_told_apart() -> None:
    """Whose the only weight is nobody can know: the message says how to tell."""
    with pytest.raises(BadRequest, match=r"'loras\[0\]\[name\]'") as caught:
        gathered([("loras[][name]", "ink"), ("loras[][name]", "pen"), ("loras[][weight]", "1")])
    assert caught.value.param == "loras"
    assert gathered([("loras[0][name]", "ink"), ("loras[1][name]", "pen"), ("loras[1][weight]", "1")]) == {
        "loras": [{"name": "ink"}, {"name": "pen", "weight": "1"}]
    }


async def test_described(gateway: httpx.AsyncClient) -> None:
    """The description says that they take forms and JSON."""
    described = msgspec.json.decode((await gateway.get("/openapi.json")).content)
    for path in (EDITS, VARIATIONS):
        content = described["paths"][path]["post"]["requestBody"]["content"]
        assert set(content) == {"application/json", "multipart/form-data"}
    assert set(described["components"]["schemas"]) >= {"EditRequest", "VariationRequest", "OxenEditRequest"}
