"""Every response of the gateway on OpenAI's paths is valid according to OpenAI's specification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import grpc
import msgspec
import pytest

from tests.support.gateway.fakes import FakeService, Refusal, image
from tests.support.gateway.openai_schemas import (
    ErrorResponse,
    ImageEditStreamEvent,
    ImageGenStreamEvent,
    ImagesResponse,
    ListModelsResponse,
    Model,
    Size,
)
from tests.support.gateway.samples import B64, image_file
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

pytestmark = pytest.mark.anyio

Code = grpc.StatusCode
GENERATIONS, EDITS, VARIATIONS = (f"/v1/images/{action}" for action in ("generations", "edits", "variations"))
ACTIONS = {"generations": GENERATIONS, "edits": EDITS, "variations": VARIATIONS}


def convert_strictly(data: bytes | str, kind: Any) -> Any:
    """Return JSON as a type, which it must match to the last key."""
    return msgspec.json.decode(data, type=kind)


async def make_images(request: pb.GenerateImagesRequest, _: Any) -> AsyncIterator[pb.StreamImagesResponse]:
    """Make images in the requested size, each with a preview before it and a revised prompt."""
    size = {"width": request.width or 64, "height": request.height or 64}
    for index in range(request.count or 1):
        preview = pb.Preview(index=index, data=image_file(), mime_type="image/png", preview_index=0)
        yield pb.StreamImagesResponse(preview=preview)
        yield image(index, mime_type=request.output.mime_type, revised_prompt=request.prompt + "!", **size)
    usage = pb.Usage(images=request.count or 1, prompt_tokens=7)
    yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny", usage=usage))


BODIES: list[dict[str, Any]] = [
    {},
    {"n": 3, "response_format": "b64_json"},
    {"n": 2, "response_format": "url"},
    {"model": "gpt-image-1.5", "size": "1024x1024", "quality": "high", "background": "transparent"},
    {"size": "1024x1536", "quality": "auto", "background": "auto", "output_format": "webp", "output_compression": 50},
    {"size": "1536x1024", "quality": "medium", "background": "opaque", "output_format": "jpeg"},
    {"size": "512x512", "quality": "hd", "style": "vivid", "moderation": "low", "user": "me"},
    {"size": "auto", "quality": "standard", "partial_images": 2, "seed": 0, "steps": 3},
]


@pytest.mark.parametrize("body", BODIES, ids=str)
@pytest.mark.parametrize("action", ACTIONS)
async def test_responses_match(
    gateway: httpx.AsyncClient, fake: FakeService, action: str, body: dict[str, Any]
) -> None:
    """Responses have the keys and values of the specification, and each image is there exactly once."""
    fake.behave = make_images
    answer = await gateway.post(ACTIONS[action], json={"prompt": "x"} | _initial_image(action) | body)
    assert answer.status_code == 200, answer.text
    made = convert_strictly(answer.content, ImagesResponse)
    assert len(made.data) == body.get("n", 1)
    for one in made.data:
        assert (one.url is msgspec.UNSET) != (one.b64_json is msgspec.UNSET)
    assert made.size == (body["size"] if body.get("size") in get_args(Size) else msgspec.UNSET)


@pytest.mark.parametrize("body", BODIES, ids=str)
@pytest.mark.parametrize(("action", "kind"), [("generations", ImageGenStreamEvent), ("edits", ImageEditStreamEvent)])
async def test_events_match(
    gateway: httpx.AsyncClient, fake: FakeService, action: str, kind: Any, body: dict[str, Any]
) -> None:
    """So do events, each of which is named as its `type`."""
    fake.behave = make_images
    asked = (
        {"prompt": "x", "stream": True, "partial_images": 1} | _initial_image(action) | body | {"response_format": None}
    )
    answer = await gateway.post(ACTIONS[action], json=asked)
    *blocks, end, rest = answer.text.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    pairs = [block.split("\ndata: ") for block in blocks]
    for name, data in pairs:
        assert name == f"event: {convert_strictly(data, kind).__struct_config__.tag}"
    assert len(pairs) == 2 * body.get("n", 1)


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("generations", {"prompt": None}),
        ("generations", {"n": 0}),
        ("generations", {"size": "large"}),
        ("generations", {"response_format": "file"}),
        ("generations", {"image": "http://127.0.0.1/"}),
        ("edits", {"image": None}),
        ("edits", {"image": "aGVsbG8="}),
        ("edits", {"image": None, "images": [{"file_id": "file-1"}]}),
        ("variations", {"stream": True}),
    ],
)
async def test_gateway_errors_match(gateway: httpx.AsyncClient, action: str, body: dict[str, Any]) -> None:
    """Errors of the gateway have the four keys, and name the field."""
    answer = await gateway.post(ACTIONS[action], json={"prompt": "x"} | _initial_image(action) | body)
    assert answer.status_code == 400
    param = convert_strictly(answer.content, ErrorResponse).error.param
    assert str(param).partition("[")[0] in body


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK], ids=lambda code: code.name)
@pytest.mark.parametrize("begun", [False, True])
async def test_service_errors_match(
    gateway: httpx.AsyncClient, fake: FakeService, code: grpc.StatusCode, *, begun: bool
) -> None:
    """So do errors of the service, at once or in a stream that has begun."""
    refusal = Refusal(code, "no", "REASON")

    async def fail_in_stream(request: pb.GenerateImagesRequest, context: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        if begun:
            yield pb.StreamImagesResponse(queued=pb.Queued(position=0))
        async for event in refusal(request, context):
            yield event

    fake.behave = fail_in_stream
    answer = await gateway.post(GENERATIONS, json={"prompt": "x", "stream": True})
    assert (answer.status_code == 200) == begun
    if not begun:
        convert_strictly(answer.content, ErrorResponse)
        return
    name, data, *end = answer.text.split("\n")
    assert (name, end) == ("event: error", ["", "data: [DONE]", "", ""])
    convert_strictly(data.removeprefix("data: "), ErrorResponse)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/models/tiny", 405),
        ("GET", EDITS, 405),
        ("GET", "/v1/models/x", 404),
    ],
)
async def test_errors_outside_of_handlers_match(
    gateway: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    """So do errors outside of handlers."""
    answer = await gateway.request(method, path)
    assert answer.status_code == status
    convert_strictly(answer.content, ErrorResponse)


async def test_models_match(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Models have OpenAI's keys, and some of tintype's."""
    listed = convert_strictly((await gateway.get("/v1/models")).content, ListModelsResponse)
    assert [model.id for model in listed.data] == fake.models
    for model in listed.data:
        assert convert_strictly((await gateway.get(f"/v1/models/{model.id}")).content, Model) == model


def _initial_image(action: str) -> dict[str, Any]:
    """The initial image of an action."""
    return {} if action == "generations" else {"image": B64}
