"""The examples of the vendors' documents over HTTP: requests are sent unchanged, responses have the documented keys.

Only links, times and images differ from one response to the next; the rest is compared to the byte.
"""

from __future__ import annotations

import base64
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from tests.support.gateway.fakes import PNG, FakeService, image
from tests.support.gateway.samples import LAKE
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import httpx

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json", "authorization": "Bearer YOUR_TOKEN"}
IMAGE_B64 = base64.b64encode(PNG + b"\0").decode()
USAGE = (
    '"usage":{"total_tokens":7,"input_tokens":7,"output_tokens":0,'
    '"input_tokens_details":{"text_tokens":7,"image_tokens":0}}'
)
LABRADOR = "A labrador retriever with lush chocolate fur is driving a red 1974 Stingray and..."
OTTER = "A cute baby sea otter"


def request(**fields: Any) -> pb.GenerateImagesRequest:
    """A request to the service, without its timeout."""
    usual: dict[str, Any] = {"output": pb.OutputFormat(mime_type="image/png"), "caller": "127.0.0.1"}
    return pb.GenerateImagesRequest(**(usual | fields))


def sole_request(fake: FakeService, *, seeded: bool = False) -> pb.GenerateImagesRequest:
    """The one request that the service received, without its timeout and, unless `seeded`, its drawn seed."""
    (made,) = fake.requests
    assert made.timeout.seconds == 20
    made.ClearField("timeout")
    assert made.HasField("seed")
    if not seeded:
        made.ClearField("seed")
    return made


class Example(NamedTuple):
    """A documented request, the request to the service, and the response; `%` marks parts that always differ."""

    path: str
    body: str
    request: pb.GenerateImagesRequest
    answer: str
    made: Mapping[str, Any] = MappingProxyType({})


EXAMPLES = {
    "agent.ai": Example(
        "/v1/action/generate_image",
        """{
  "prompt": "A serene mountain lake at sunset",
  "model": "DALL-E 3",
  "model_style": "default",
  "model_aspect_ratio": "9:16"
}""",
        request(prompt="A serene mountain lake at sunset", width=720, height=1280),
        '{"metadata":{"images":[{"prompt":"A serene mountain lake at sunset","url":"%url"}]},'
        '"response":"<img src=\\"%url\\" alt=\\"A serene mountain lake at sunset\\" /><br />","status":200}',
        {"mime_type": "image/jpeg"},
    ),
    # Its reference has no example; this one has all of its fields.
    "Oxen": Example(
        "/api/ai/images/generate",
        '{"model": "flux-dev", "n": 1, "prompt": "a cat", "seed": 42, "size": "512x512"}',
        request(model="flux-dev", count=1, prompt="a cat", seed=42, width=512, height=512),
        '{"model":"flux-dev","created":%created,"images":[{"url":"%url","revised_prompt":"a black cat"}]}',
        {"revised_prompt": "a black cat"},
    ),
    "New API": Example(
        "/v1/images/generations",
        '{"model": "dall-e-3", "prompt": "a cat", "n": 1, "size": "1792x1024", "quality": "hd", "style": "natural",'
        ' "response_format": "url", "user": "me"}',
        request(prompt="a cat", count=1, width=1792, height=1024, quality="hd", style="natural", caller="me"),
        '{"created":%created,"data":[{"url":"%url","revised_prompt":"a black cat","seed":100}],'
        f'"output_format":"png",{USAGE}}}',
        {"revised_prompt": "a black cat", "width": 1792, "height": 1024},
    ),
    "APIpie": Example(
        "/apipie/v1/images/generations",
        """{
  "prompt": "Its a picture of a dog, driving a car",
  "model": "dall-e-3",
  "n": 1,
  "size": "1024x1024",
  "quality": "standard",
  "response_format": "url",
  "style": "vivid"
}""",
        request(
            prompt="Its a picture of a dog, driving a car",
            count=1,
            width=1024,
            height=1024,
            quality="standard",
            style="vivid",
        ),
        f'{{"created":%created,"data":[{{"url":"%url","revised_prompt":"{LABRADOR}"}}],{USAGE}}}',
        {"revised_prompt": LABRADOR, "mime_type": "image/jpeg", "width": 1024, "height": 1024},
    ),
    "Aqueduct": Example(
        "/aqueduct/images/generations",
        """{
      "model": "dall-e-3",
      "prompt": "A cute baby sea otter",
      "n": 1,
      "size": "1024x1024"
  }""",
        request(prompt=OTTER, count=1, width=1024, height=1024),
        f'{{"created":%created,"data":[{{"url":"%url","seed":100}}],"output_format":"png","size":"1024x1024",{USAGE}}}',
        {"width": 1024, "height": 1024},
    ),
    "OpenAI": Example(
        "/v1/images/generations",
        """{
    "model": "gpt-image-1.5",
    "prompt": "A cute baby sea otter",
    "n": 1,
    "size": "1024x1024"
  }""",
        request(prompt=OTTER, count=1, width=1024, height=1024),
        f'{{"created":%created,"data":[{{"b64_json":"{IMAGE_B64}","seed":100}}],"output_format":"png",'
        f'"size":"1024x1024",{USAGE}}}',
        {"width": 1024, "height": 1024},
    ),
}


def make_image_with(**fields: Any) -> Any:
    """A behaviour that makes one image with these fields."""

    async def behave(*_: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        yield image(**fields)
        yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny", usage=pb.Usage(images=1, prompt_tokens=7)))

    return behave


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
async def test_documented_examples(gateway: httpx.AsyncClient, fake: FakeService, example: Example) -> None:
    """A documented request becomes exactly what it means, and its response has the documented keys in their order."""
    fake.behave = make_image_with(**example.made)
    answer = await gateway.post(example.path, content=example.body, headers=JSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert "x-tintype-ignored" not in answer.headers
    assert sole_request(fake, seeded=example.request.HasField("seed")) == example.request
    assert answer.text == fill_in(example.answer, answer.json())
    if "%url" in example.answer:
        ending = {"image/jpeg": ".jpg"}.get(example.made.get("mime_type", ""), ".png")
        assert link(answer.json()).endswith(ending)
        assert (await gateway.get(link(answer.json()))).content == PNG + b"\0"


def link(answer: Any) -> str:
    """The link of the first image, under the key of any vendor."""
    images = answer.get("data") or answer.get("images") or answer["metadata"]["images"]
    return str(images[0].get("url", ""))


def fill_in(text: str, answer: Any) -> str:
    """The text of a response with its own time and link."""
    assert type(answer.get("created", 0)) is int
    return text.replace("%created", str(answer.get("created"))).replace("%url", link(answer))


# Values that the documents list, by path: each value is tested by itself.
LISTED: dict[str, dict[str, list[Any]]] = {
    "/v1/action/generate_image": {
        "model": ["DALL-E 3", "Playground v3", "FLUX.1 [schnell]", "Ideogram"],
        "model_style": ["default", "photo", "digital art", "illustration", "drawing"],
        "model_aspect_ratio": ["9:16", "1:1", "4:3", "16:9"],
    },
    "/v1/images/generations": {
        "n": [1, 10],
        "size": ["auto", "256x256", "512x512", "1024x1024", "1792x1024", "1024x1792", "1536x1024", "1024x1536"],
        "quality": ["standard", "hd", "low", "medium", "high", "auto"],
        "style": ["vivid", "natural"],
        "response_format": ["url", "b64_json"],
        "output_format": ["png", "jpeg", "webp"],
        "output_compression": [0, 100],
        "background": ["transparent", "opaque", "auto"],
        "moderation": ["low", "auto"],
        "partial_images": [0, 3],
        "model": ["dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2"],
    },
    "/v1/images/edits": {
        "input_fidelity": ["high", "low"],
        "size": ["auto", "1024x1024", "1536x1024", "1024x1536"],
        "model": ["gpt-image-1.5", "gpt-image-2-2026-04-21", "chatgpt-image-latest", "dall-e-2"],
    },
}


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [(path, field, value) for path, fields in LISTED.items() for field, values in fields.items() for value in values],
)
async def test_listed_values_are_accepted(gateway: httpx.AsyncClient, path: str, field: str, value: Any) -> None:
    """Each value that a document lists is accepted, as is null in OpenAI's, and none is reported as unknown."""
    body = {"prompt": "x"} | ({"image": base64.b64encode(LAKE).decode()} if path.endswith("edits") else {})
    for sent_value in (value, None):
        answer = await gateway.post(path, json=body | {field: sent_value})
        assert answer.status_code == 200, answer.text
        assert "x-tintype-ignored" not in answer.headers


async def test_openais_example_of_a_stream(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """OpenAI's example of a stream: its events, each with its name twice, and the end."""
    fake.behave = make_image_with(width=1024, height=1024)
    body = """{
    "model": "gpt-image-1.5",
    "prompt": "A cute baby sea otter",
    "n": 1,
    "size": "1024x1024",
    "stream": true
  }"""
    answer = await gateway.post("/v1/images/generations", content=body, headers=JSON)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert sole_request(fake) == request(prompt=OTTER, count=1, width=1024, height=1024)
    name, data, *end = answer.text.split("\n")
    assert name == "event: image_generation.completed"
    created = msgspec.json.decode(data.removeprefix("data: "))["created_at"]
    assert data == (
        f'data: {{"type":"image_generation.completed","b64_json":"{IMAGE_B64}","created_at":{created},'
        f'"size":"1024x1024","quality":"auto","background":"opaque","output_format":"png",{USAGE}}}'
    )
    assert end == ["", "data: [DONE]", "", ""]


ANSWER = f'{{"created":%created,"data":[{{"b64_json":"{IMAGE_B64}","seed":100}}],"output_format":"png",{USAGE}}}'
WATERCOLOR = "Add a watercolor effect to this image"


async def test_openais_example_of_an_edit_form(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """OpenAI's example of an edit with four files: the first is edited, the others are named."""
    names = ("body-lotion.png", "bath-bomb.png", "incense-kit.png", "soap.png")
    prompt = "Create a lovely gift basket with these four items in it"
    answer = await gateway.post(
        "/v1/images/edits",
        data={"model": "gpt-image-1.5", "prompt": prompt},
        files=[("image[]", (name, LAKE, "image/png")) for name in names],
    )
    assert sole_request(fake) == request(prompt=prompt, image=LAKE, strength=0.8)
    assert answer.text == fill_in(ANSWER, answer.json())
    assert answer.headers["x-tintype-ignored"] == "image[1], image[2], image[3]"


async def test_openais_example_of_an_edit_in_json(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """OpenAI's example of an edit by reference, with a `data:` URL in place of one that must be fetched."""
    url = f"data:image/png;base64,{base64.b64encode(LAKE).decode()}"
    body = {
        "model": "gpt-image-1.5",
        "prompt": WATERCOLOR,
        "images": [{"image_url": url}],
        "size": "1024x1024",
        "quality": "high",
    }
    answer = await gateway.post("/v1/images/edits", json=body)
    assert sole_request(fake) == request(
        prompt=WATERCOLOR, image=LAKE, strength=0.8, width=1024, height=1024, quality="high"
    )
    assert answer.text == fill_in(ANSWER.replace(f",{USAGE}", f',"quality":"high",{USAGE}'), answer.json())


async def test_file_id_is_an_error(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """OpenAI's example with a `file_id` is an error that says that no files are kept, and nothing is made."""
    body = {"model": "gpt-image-1.5", "prompt": "x", "images": [{"file_id": "file-abc123"}], "output_format": "png"}
    answer = await gateway.post("/v1/images/edits", json=body)
    assert answer.status_code == 400
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == ("images[0]", "invalid_value")
    assert "file_id" in answer.json()["error"]["message"]
    assert not fake.requests


async def test_openais_example_of_a_variation(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """OpenAI's example of a variation: two images from a file alone."""
    answer = await gateway.post(
        "/v1/images/variations", data={"n": "2", "size": "1024x1024"}, files={"image": ("otter.png", LAKE)}
    )
    made = sole_request(fake)
    assert made.prompt
    assert made == request(
        prompt=made.prompt, image=LAKE, strength=0.7, guidance_scale=1, count=2, width=1024, height=1024
    )
    assert [set(one) for one in answer.json()["data"]] == [{"url", "seed"}] * 2


async def test_oxens_edit_with_all_fields(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """All fields of Oxen's edit, and the response of its generation."""
    url = f"data:image/png;base64,{base64.b64encode(LAKE).decode()}"
    body = {"model": "flux-kontext", "prompt": "a boat", "image": url, "mask": url, "n": 1, "size": "512x512"}
    answer = await gateway.post("/api/ai/images/edit", json=body)
    assert sole_request(fake) == request(
        model="flux-kontext", prompt="a boat", image=LAKE, mask=LAKE, strength=1, count=1, width=512, height=512
    )
    assert answer.text == fill_in(
        '{"model":"flux-kontext","created":%created,"images":[{"url":"%url"}]}', answer.json()
    )
