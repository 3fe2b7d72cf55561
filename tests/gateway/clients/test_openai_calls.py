"""Every way in which OpenAI's Python SDK can make each of its calls for images, with every parameter that it has.

Responses are validated as strictly as the SDK can: a key of the wrong type, or an unknown value, is an error.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from openai.types import ImagesResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.gateway.summary import ImageSummary

    Open = Callable[[bytes], ImageSummary]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:The 'dall-e-2' model is deprecated", "ignore::DeprecationWarning"),
]

QUICK: dict[str, Any] = {"extra_body": {"steps": 2}}
# The required parameters of each call, and all others.
LEAST: dict[str, dict[str, Any]] = {
    "generate": {"prompt": "a sailing boat"},
    "edit": {"prompt": "a sailing boat", "image": ...},
    "create_variation": {"image": ...},
}
_SHARED = {
    "background": "transparent",
    "model": "gpt-image-2",
    "n": 1,
    "output_compression": 100,
    "output_format": "png",
    "partial_images": 1,
    "user": "me",
}
MORE: dict[str, dict[str, Any]] = {
    "generate": {**_SHARED, "moderation": "low", "quality": "medium", "size": "auto", "style": "vivid"},
    "edit": {**_SHARED, "input_fidelity": "high", "mask": ..., "quality": "high", "size": "256x256"},
    "create_variation": {"model": "gpt-image-1", "n": 1, "size": "1024x1024", "user": "me"},
}
FORMATS = {"links": "url", "base64": "b64_json"}
STREAMS = {"whole": {}, "not streamed": {"stream": False}, "streamed": {"stream": True}}
WAYS = [
    (call, amount, stream)
    for call in LEAST
    for amount in ("least", *FORMATS)
    for stream in STREAMS
    if call != "create_variation" or stream == "whole"
]


@pytest.fixture(scope="module")
def client(gateway_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{gateway_url}/v1", api_key="none", max_retries=0, timeout=120, _strict_response_validation=True
    ) as sdk:
        yield sdk


@pytest.fixture
def arguments(lake: bytes, mask: bytes) -> Callable[[str, str, str], dict[str, Any]]:
    """The arguments of one call."""
    files = {"image": ("lake.png", lake, "image/png"), "mask": ("mask.png", mask, "image/png")}

    def open_files(call: str, amount: str, stream: str) -> dict[str, Any]:
        more = MORE[call] | {"response_format": FORMATS[amount]} if amount in FORMATS else {}
        asked = LEAST[call] | more | STREAMS[stream] | QUICK
        return {key: files[key] if value is ... else value for key, value in asked.items()}

    return open_files


def check(answer: Any, amount: str, open_image: Open) -> None:
    """Check that a response is complete, and has its image in the requested form."""
    assert isinstance(answer, ImagesResponse)
    assert answer.data
    for one in answer.data:
        assert {"links": one.b64_json, "base64": one.url}.get(amount) is None
        data = base64.b64decode(one.b64_json) if one.b64_json else httpx.get(str(one.url), trust_env=False).content
        assert open_image(data)[0] == "PNG"


def check_events(events: list[Any], call: str, amount: str, open_image: Open) -> None:
    """Check that a stream ends with the image, after the requested previews."""
    name = {"generate": "image_generation", "edit": "image_edit"}[call]
    previews = [] if amount == "least" else [f"{name}.partial_image"]
    assert [event.type for event in events] == [*previews, f"{name}.completed"]
    assert {open_image(base64.b64decode(event.b64_json, validate=True))[0] for event in events} == {"PNG"}
    assert events[-1].usage.total_tokens > 0


@pytest.mark.parametrize(("call", "amount", "stream"), WAYS)
def test_required_and_all_parameters(
    client: openai.OpenAI, open_image: Open, arguments: Any, call: str, amount: str, stream: str
) -> None:
    """Each call succeeds with its required parameters, and with all parameters."""
    answer = getattr(client.images, call)(**arguments(call, amount, stream))
    if stream == "streamed":
        with answer:
            check_events(list(answer), call, amount, open_image)
    else:
        check(answer, amount, open_image)


@pytest.mark.parametrize(("call", "amount", "stream"), [way for way in WAYS if way[1] != "base64"])
def test_raw_response_has_headers(
    client: openai.OpenAI, open_image: Open, arguments: Any, call: str, amount: str, stream: str
) -> None:
    """So it does with response headers, which name the parameters without effect in a stream."""
    raw = getattr(client.images.with_raw_response, call)(**arguments(call, amount, stream))
    assert raw.headers["x-request-id"]
    if stream == "streamed":
        with raw.parse() as events:
            check_events(list(events), call, amount, open_image)
        assert ("response_format" in raw.headers.get("x-tintype-ignored", "")) == (amount == "links")
    else:
        check(raw.parse(), amount, open_image)


@pytest.mark.parametrize(("call", "amount", "stream"), [way for way in WAYS if way[1] == "links"])
def test_streaming_response_is_the_same(
    client: openai.OpenAI, open_image: Open, arguments: Any, call: str, amount: str, stream: str
) -> None:
    """A response that the caller reads later is the same one."""
    with getattr(client.images.with_streaming_response, call)(**arguments(call, amount, stream)) as raw:
        assert not raw.is_closed
        if stream == "streamed":
            check_events(list(raw.parse()), call, amount, open_image)
        else:
            check(raw.parse(), amount, open_image)
    assert raw.is_closed


@pytest.mark.parametrize(("call", "amount", "stream"), [way for way in WAYS if way[1] != "base64"])
async def test_async_client(
    gateway_url: str, open_image: Open, arguments: Any, call: str, amount: str, stream: str
) -> None:
    """The asyncio client works as well: plain, raw and streaming."""
    given = arguments(call, amount, stream)
    async with openai.AsyncOpenAI(
        base_url=f"{gateway_url}/v1", api_key="none", max_retries=0, timeout=120, _strict_response_validation=True
    ) as sdk:
        answer = await getattr(sdk.images, call)(**given)
        if stream == "streamed":
            check_events([event async for event in answer], call, amount, open_image)
        else:
            check(answer, amount, open_image)
        raw = await getattr(sdk.images.with_raw_response, call)(**given)
        parsed = raw.parse()
        if stream == "streamed":
            await parsed.close()
        async with getattr(sdk.images.with_streaming_response, call)(**given) as late:
            if stream == "streamed":
                check_events([event async for event in await late.parse()], call, amount, open_image)
            else:
                check(await late.parse(), amount, open_image)


@pytest.mark.parametrize("call", ["generate", "edit"])
def test_server_works_after_a_closed_stream(client: openai.OpenAI, arguments: Any, call: str) -> None:
    """After a stream is closed unread, the server serves the next call."""
    getattr(client.images, call)(**arguments(call, "links", "streamed")).close()
    assert client.images.generate(prompt="x", size="256x256", **QUICK).data


@pytest.mark.parametrize("quality", ["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"])
@pytest.mark.parametrize("model", ["gpt-image-2.5-sunburst", "gpt-image-2.6-flare-2026-11-01"])
def test_values_newer_than_the_sdk_are_accepted(
    client: openai.OpenAI, open_image: Open, model: str, quality: Any
) -> None:
    """Models and qualities of OpenAI's are accepted, also those newer than the SDK's types."""
    more: dict[str, Any] = {"extra_body": {"steps": 2, "safety_identifier": "user-7"}}
    answer = client.images.generate(prompt="x", model=model, quality=quality, size="256x256", **more)
    check(answer, "base64", open_image)
    assert getattr(answer, "safety_identifier", None) == "user-7"
