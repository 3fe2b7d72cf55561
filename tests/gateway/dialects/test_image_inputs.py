"""Controls and image prompts in requests: JSON, forms, and errors that name the field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.gateway.fakes import PATH, FakeService, Refusal, Service, config, running_gateway
from tests.support.gateway.openai_errors import check_error
from tests.support.gateway.samples import B64, LAKE, image_file
from tintype.gateway.dialects import oxen
from tintype.gateway.dialects.openai import parse
from tintype.gateway.errors import BadRequest
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    import openai

pytestmark = pytest.mark.anyio

EDITS = "/v1/images/edits"
REQUEST = "invalid_request_error"
HINT = image_file(size=(40, 40))
CONTROL = {"name": "canny", "image": B64, "weight": 0.5, "start": 0.25, "end": 0.75, "mode": 2}
PROMPT = {"name": "ip-adapter", "image": {"image_url": f"data:image/png;base64,{B64}"}, "weight": 0.5}
SENT = {
    "controls": [pb.Control(name="canny", image=LAKE, weight=0.5, start=0.25, end=0.75, mode=2)],
    "image_prompts": [pb.ImagePrompt(name="ip-adapter", image=LAKE, weight=0.5)],
}


@pytest.mark.parametrize("path", [PATH, EDITS, "/apipie/v1/images/generations", "/api/ai/images/generate"])
async def test_controls_reach_the_service(gateway: httpx.AsyncClient, fake: FakeService, path: str) -> None:
    """ControlNets, image prompts and clip skip reach the service, with their images, in generations and edits."""
    body = {"prompt": "x", "model": "guided", "controls": [CONTROL], "image_prompts": [PROMPT], "clip_skip": 1}
    answer = await gateway.post(path, json=body | ({"image": B64} if path == EDITS else {}))
    assert answer.status_code == 200, answer.text
    sent = fake.requests[0]
    assert {"controls": list(sent.controls), "image_prompts": list(sent.image_prompts)} == SENT
    assert sent.clip_skip == 1
    assert "x-tintype-ignored" not in answer.headers


async def test_defaults_are_the_contracts(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """What the request leaves out is left to the service."""
    await gateway.post(PATH, json={"prompt": "x", "controls": [{"name": "canny", "image": B64}]})
    assert list(fake.requests[0].controls) == [pb.Control(name="canny", image=LAKE)]
    assert not fake.requests[0].HasField("clip_skip")


@pytest.mark.parametrize("path", [PATH, "/api/ai/images/generate"])
async def test_clip_skip_without_clip_is_reported(gateway: httpx.AsyncClient, fake: FakeService, path: str) -> None:
    """A model that reads no layers of a CLIP gets no `clip_skip`, and the response names it, unless it is 0."""
    for skip, ignored in ((2, "clip_skip"), (0, None)):
        answer = await gateway.post(path, json={"prompt": "x", "model": "both", "clip_skip": skip})
        assert answer.status_code == 200, answer.text
        assert fake.requests[-1].clip_skip == 0
        assert answer.headers.get("x-tintype-ignored") == ignored


async def test_forms_have_controls(gateway: httpx.AsyncClient, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
    """A form has them as numbered fields, with files or text; as OpenAI's SDK encodes them; or as JSON text."""
    fields: list[Any] = [("image", ("a.png", LAKE)), ("prompt", (None, "x")), ("clip_skip", (None, "2"))]
    fields += [(f"controls[0][{key}]", (None, str(value))) for key, value in CONTROL.items() if key != "image"]
    fields += [("controls[0][image]", ("h.png", HINT))]
    answer = await gateway.post(EDITS, files=fields)
    assert answer.status_code == 200, answer.text
    expected = pb.Control(name="canny", image=HINT, weight=0.5, start=0.25, end=0.75, mode=2)
    assert list(fake.requests[-1].controls) == [expected]
    assert fake.requests[-1].clip_skip == 2
    await sdk.images.edit(image=LAKE, prompt="x", extra_body={"controls": [CONTROL], "clip_skip": 1})
    assert list(fake.requests[-1].controls) == SENT["controls"]
    text = {"controls": (None, json.dumps([CONTROL])), "image_prompts": (None, json.dumps([PROMPT]))}
    await gateway.post(EDITS, files={"image": ("a.png", LAKE), "prompt": (None, "x"), **text})
    assert list(fake.requests[-1].image_prompts) == SENT["image_prompts"]


@pytest.mark.parametrize(
    ("fields", "param", "expected"),
    [
        ({"controls": [CONTROL, CONTROL | {"weight": 3}]}, "controls[1].weight", "a number from 0 to 2, not 3"),
        ({"controls": [CONTROL | {"start": "x"}]}, "controls[0].start", "a number from 0 to 1, not 'x'"),
        ({"controls": [{"name": "canny"}]}, "controls[0].image", "a PNG, JPEG or WebP file"),
        ({"controls": [{"image": B64}]}, "controls[0].name", "is missing"),
        ({"controls": [CONTROL | {"image": 7}]}, "controls[0].image", "data: URL or base64, not 7"),
        ({"controls": [CONTROL] * 5}, "controls", "at most 4 {name, image, weight, start, end, mode}, got 5"),
        ({"image_prompts": [PROMPT] * 5}, "image_prompts", "at most 4 {name, image, weight}, got 5"),
        ({"controls": "canny"}, "controls", "a list of at most 4 {name, image, weight, start, end, mode}, not 'canny'"),
        ({"controls": [CONTROL, None]}, "controls[1]", "an object {name, image, weight, start, end, mode}, not null"),
        ({"image_prompts": [PROMPT | {"weight": -1}]}, "image_prompts[0].weight", "0 to 2, not -1"),
        ({"image_prompts": [PROMPT | {"image": ""}]}, "image_prompts[0].image", "a PNG, JPEG or WebP file"),
        ({"clip_skip": 12}, "clip_skip", "an integer from 0 to 11, not 12"),
    ],
    ids=str,
)
@pytest.mark.parametrize("reader", [parse, oxen.parse])
def test_invalid_fields_are_named(reader: Any, fields: dict[str, Any], param: str, expected: str) -> None:
    """An error names the item and its field."""
    with pytest.raises(BadRequest, match=expected.replace("{", r"\{")) as caught:
        reader({"prompt": "x"} | fields)
    assert caught.value.param == param


@pytest.mark.parametrize("path", [PATH, EDITS, "/api/ai/images/generate"])
async def test_unknown_keys_of_items_are_named(gateway: httpx.AsyncClient, fake: FakeService, path: str) -> None:
    """Unknown keys inside controls and image prompts are named like those of the request; null counts as absent."""
    lists = {"controls": [CONTROL, CONTROL | {"odd": 1, "none": None}], "image_prompts": [PROMPT | {"end": 0.5}]}
    body = {"prompt": "x", "model": "guided", "foo": 1, **lists}
    answer = await gateway.post(path, json=body | ({"image": B64} if path == EDITS else {}))
    assert answer.status_code == 200, answer.text
    named = answer.headers["x-tintype-ignored"].split(", ")
    assert sorted(named) == ["controls[1].odd", "foo", "image_prompts[0].end"]
    assert len(fake.requests[0].controls) == 2


async def test_unknown_keys_of_items_are_errors_if_strict(service: Service, tmp_path: Path) -> None:
    """With strict parameters an unknown key of a control is an error that names it."""
    async with running_gateway(config(service, tmp_path, strict_parameters=True)) as client:
        answer = await client.post(PATH, json={"prompt": "x", "controls": [CONTROL | {"odd": 1}]})
    check_error(answer, 400, REQUEST, "unknown_parameter", "controls[0].odd")
    assert not service.fake.requests


async def test_errors_have_the_numbers_of_a_form(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """A form's `controls[7]` keeps its number in errors and among unknown keys."""
    faults = [("controls[0].name", "'x' is not a ControlNet of model 'guided'")]
    image, prompt = ("image", ("a.png", LAKE)), ("prompt", (None, "x"))
    name, odd = ("controls[7][name]", (None, "canny")), ("controls[7][odd]", (None, "1"))
    file = ("controls[7][image]", ("h.png", HINT))
    answer = await gateway.post(EDITS, files=[image, prompt, file])
    check_error(answer, 400, REQUEST, "invalid_value", "controls[7].name")
    for data in (b"", b"no"):
        answer = await gateway.post(EDITS, files=[image, prompt, name, ("controls[7][image]", ("h.png", data))])
        code = "invalid_image_file" if data else "invalid_value"
        check_error(answer, 400, REQUEST, code, "controls[7].image")
    answer = await gateway.post(EDITS, files=[image, prompt, name, file, odd])
    assert answer.headers["x-tintype-ignored"] == "controls[7].odd"
    fake.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", violations=faults)
    answer = await gateway.post(EDITS, files=[image, prompt, name, file])
    check_error(answer, 400, REQUEST, "invalid_value", "controls[7].name")
    faults = [("loras[0].name", "must be one of 'ink'")]
    fake.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", violations=faults)
    answer = await gateway.post(EDITS, files=[image, prompt, ("loras[2][name]", (None, "pen"))])
    check_error(answer, 400, REQUEST, "invalid_value", "loras[2].name")


async def test_unreadable_image_is_named(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """A file that is not an image is named by its item."""
    body = {"prompt": "x", "controls": [CONTROL, CONTROL | {"image": "aGVsbG8="}]}
    check_error(await gateway.post(PATH, json=body), 400, REQUEST, "invalid_image_file", "controls[1].image")
    assert not fake.requests


async def test_service_errors_name_the_item(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """An error of the service about an item is passed on under its name."""
    faults = [("controls[0].name", "'x' is not a ControlNet of model 'guided'")]
    fake.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", violations=faults)
    answer = await gateway.post(PATH, json={"prompt": "x", "controls": [CONTROL]})
    assert "not a ControlNet" in check_error(answer, 400, REQUEST, "invalid_value", "controls[0].name")
