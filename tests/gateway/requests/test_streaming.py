"""Streams over HTTP, compared byte for byte, and read by OpenAI's own SDK."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import grpc
import openai
import pytest
from PIL import Image

from tests.support.gateway.fakes import (
    PATH,
    PNG,
    QUEUED,
    SMALLEST_PNG,
    FakeService,
    Refusal,
    Service,
    config,
    disconnect_once_started,
    failing_after_first_event,
    image,
    images_with_previews,
    running_gateway,
    sleep_long,
)
from tests.support.gateway.openai_errors import check_error
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio

USAGE = {
    "total_tokens": 7,
    "input_tokens": 7,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 7, "image_tokens": 0},
}


@asynccontextmanager
async def stream_lines(gateway: httpx.AsyncClient) -> AsyncIterator[AsyncIterator[str]]:
    """Yield the lines of a stream as they arrive."""
    async with gateway.stream("POST", PATH, json={"prompt": "x", "stream": True}) as answer:
        assert answer.status_code == 200
        yield answer.aiter_lines()


async def events(gateway: httpx.AsyncClient, **body: Any) -> list[tuple[str, Any]]:
    """Return all events, each with its name and data."""
    answer = await gateway.post(PATH, json={"prompt": "x", "stream": True} | body)
    assert answer.status_code == 200
    *blocks, end, rest = answer.text.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    parsed_events = []
    for block in blocks:
        name, data = block.split("\n")
        parsed_events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return parsed_events


class TestEvents:
    async def test_one_image_byte_for_byte(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """One image, byte for byte: its event, and the end."""
        fake.behave = images_with_previews(fake)
        answer = await gateway.post(PATH, json={"prompt": "x", "stream": True})
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-request-id"]
        b64 = base64.b64encode(PNG + b"\0").decode()
        created = json.loads(answer.text.split("data: ")[1].split("\n")[0])["created_at"]
        assert answer.text == (
            "event: image_generation.completed\n"
            f'data: {{"type":"image_generation.completed","b64_json":"{b64}","created_at":{created},"size":"auto",'
            '"quality":"auto","background":"opaque","output_format":"png","usage":{"total_tokens":7,"input_tokens":7,'
            '"output_tokens":0,"input_tokens_details":{"text_tokens":7,"image_tokens":0}}}\n\n'
            "data: [DONE]\n\n"
        )
        assert fake.previews[0].count == 0

    async def test_each_image_has_previews_and_usage_is_sent_once(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """Each image has its previews and its completed event; the usage is sent once, so the sum is right."""
        fake.behave = images_with_previews(fake)
        received = await events(gateway, n=2, partial_images=2)
        event_names = ["partial_image", "partial_image", "completed"] * 2
        assert [name for name, _ in received] == [f"image_generation.{name}" for name in event_names]
        assert all(data["type"] == name for name, data in received)
        assert [data["image_index"] for _, data in received] == [0, 0, 0, 1, 1, 1]
        assert [data.get("partial_image_index") for _, data in received] == [0, 1, None, 0, 1, None]
        assert received[2][1]["usage"]["total_tokens"] == 0
        assert received[5][1]["usage"] == USAGE

    @pytest.mark.parametrize(
        ("body", "size", "format_"),
        [
            ({}, (96, 64), "PNG"),
            ({"size": "48x32", "output_format": "jpeg"}, (48, 32), "JPEG"),
            ({"width": 48, "output_format": "webp"}, (48, 64), "WEBP"),
        ],
    )
    async def test_previews_have_the_images_size_and_type(
        self, gateway: httpx.AsyncClient, fake: FakeService, body: Any, size: tuple[int, int], format_: str
    ) -> None:
        """A preview has the size and type of the image, whether requested or the model's default."""
        fake.behave = images_with_previews(fake)
        received = await events(gateway, partial_images=1, **body)
        with Image.open(BytesIO(base64.b64decode(received[0][1]["b64_json"], validate=True))) as preview:
            assert (preview.size, preview.format) == (size, format_)
        assert received[0][1]["output_format"] == format_.lower()
        assert fake.previews[0] == pb.Previews(count=1, mime_type="image/png")

    async def test_images_are_sent_as_they_finish(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """An image is sent before the next one is generated."""
        proceed = asyncio.Event()

        async def behave(*_: Any) -> AsyncIterator[pb.StreamImagesResponse]:
            yield image(0)
            await proceed.wait()
            yield image(1)
            yield pb.StreamImagesResponse(completed=pb.Completed())

        fake.behave = behave
        async with gateway.stream("POST", PATH, json={"prompt": "x", "stream": True, "n": 2}) as answer:
            lines = answer.aiter_lines()
            async with asyncio.timeout(30):
                assert await anext(lines) == "event: image_generation.completed"
            proceed.set()
            assert [line async for line in lines][-2:] == ["data: [DONE]", ""]

    async def test_comments_are_sent_during_silence(
        self, gateway: httpx.AsyncClient, fake: FakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """During a period without events, comments are sent."""
        monkeypatch.setattr("tintype.gateway.requests.streaming.KEEP_ALIVE", 0.02)
        fake.behave = sleep_long
        async with stream_lines(gateway) as lines:
            assert [await anext(lines) for _ in range(4)] == [": ping", "", ": ping", ""]

    @pytest.mark.parametrize("path", ["/apipie/v1/images/generations", "/aqueduct/images/generations"])
    async def test_compatible_vendors_stream_alike(self, gateway: httpx.AsyncClient, path: str) -> None:
        """Vendors compatible with OpenAI stream as OpenAI does."""
        answer = await gateway.post(path, json={"prompt": "x", "stream": True})
        assert answer.text.endswith("data: [DONE]\n\n")

    @pytest.mark.parametrize(
        ("path", "more"), [("/v1/images/generations", {}), ("/v1/images/edits", {"image": SMALLEST_PNG})]
    )
    async def test_requested_links_are_ignored(
        self, gateway: httpx.AsyncClient, path: str, more: dict[str, str]
    ) -> None:
        """Events have base64; requested links are named as ignored."""
        answer = await gateway.post(path, json={"prompt": "x", "stream": True, "response_format": "url"} | more)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-tintype-ignored"] == "response_format"
        assert '"b64_json":' in answer.text
        assert '"url":' not in answer.text

    async def test_unsupported_styles_are_dropped(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A style that the model does not have is dropped in a stream, too."""
        behave = fake.behave
        refusal = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=[("style", "none")])
        fake.behave = lambda request, context: (refusal if request.style else behave)(request, context)
        answer = await gateway.post(PATH, json={"prompt": "x", "stream": True, "style": "vivid", "odd": 1})
        assert answer.headers["x-tintype-ignored"] == "odd, style"
        assert answer.text.endswith("data: [DONE]\n\n")

    @pytest.mark.parametrize(("model", "expected"), [("dall-e-3", "tiny"), ("big", "org/large"), ("nope", "tiny")])
    async def test_the_served_model_is_named(
        self, service: Service, fake: FakeService, tmp_path: Path, model: str, expected: str
    ) -> None:
        """A stream names the model, if it differs from the client's name."""
        behave = fake.behave
        missing = Refusal(grpc.StatusCode.NOT_FOUND, "no", "MODEL_NOT_FOUND", {"model": "nope"})
        fake.behave = lambda request, context: (missing if request.model == "nope" else behave)(request, context)
        aliases = {"big": "org/large"}
        async with running_gateway(config(service, tmp_path, strict_models=False, aliases=aliases)) as client:
            answer = await client.post(PATH, json={"prompt": "x", "stream": True, "model": model})
            assert answer.headers["x-tintype-model"] == expected
            for model_field in ({}, {"model": "org/large"}):
                answer = await client.post(PATH, json={"prompt": "x", "stream": True} | model_field)
                assert "x-tintype-model" not in answer.headers


class TestErrors:
    async def test_errors_before_the_first_event_have_their_status(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """An error before the first event has its status, as without a stream."""
        fake.behave = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "QUEUE_FULL", delay=2)
        answer = await gateway.post(PATH, json={"prompt": "x", "stream": True})
        assert check_error(answer, 429, "requests", "rate_limit_exceeded", None) == "full"
        assert answer.headers["retry-after"] == "2"

    async def test_later_errors_are_events(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A later error is an event with the client's field names, followed by the end."""
        violations = [("width", "must be less")]
        fake.behave = failing_after_first_event(
            Refusal(grpc.StatusCode.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=violations)
        )
        expected = {
            "message": "Invalid 'size': width must be less.",
            "type": "invalid_request_error",
            "param": "size",
            "code": "invalid_value",
        }
        assert await events(gateway, size="64x64") == [("error", {"error": expected})]

    async def test_a_stream_that_ends_early_has_failed(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A service that ends its stream early has failed."""

        async def end_early(*_: Any) -> AsyncIterator[pb.StreamImagesResponse]:
            yield QUEUED

        fake.behave = end_early
        received = await events(gateway)
        assert [name for name, _ in received] == ["error"]
        assert received[0][1]["error"]["type"] == "server_error"

    async def test_missing_images_are_an_error(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A service that completes without all images has failed, and no empty image is sent."""

        async def send_one_image(*_: Any) -> AsyncIterator[pb.StreamImagesResponse]:
            yield image(0)
            yield pb.StreamImagesResponse(completed=pb.Completed())

        fake.behave = send_one_image
        assert [name for name, _ in await events(gateway, n=2)] == ["image_generation.completed", "error"]

    async def test_unexpected_errors_reveal_nothing(
        self, gateway: httpx.AsyncClient, fake: FakeService, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An unreadable preview gives an error without internals, which are in the log."""

        async def send_unreadable_preview(*_: Any) -> AsyncIterator[pb.StreamImagesResponse]:
            yield pb.StreamImagesResponse(preview=pb.Preview(data=b"garbage"))

        fake.behave = send_unreadable_preview
        with caplog.at_level(logging.ERROR):
            received = await events(gateway, partial_images=1)
        assert received[0][0] == "error"
        assert "cannot identify" not in str(received)
        assert "cannot identify" in caplog.text


class TestDisconnect:
    async def test_a_disconnect_from_an_idle_stream_cancels_the_call(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """A client that disconnects from an idle stream releases its request."""
        fake.behave = sleep_long
        async with stream_lines(gateway):
            pass
        await asyncio.wait_for(fake.cancelled.wait(), 30)

    async def test_a_disconnect_before_the_first_event_cancels_the_call(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """A client that disconnects before the first event releases its request."""

        async def send_nothing(*_: Any) -> AsyncIterator[pb.StreamImagesResponse]:
            await asyncio.sleep(60)
            yield QUEUED

        fake.behave = send_nothing
        await disconnect_once_started(gateway.post(PATH, json={"prompt": "x", "stream": True}), fake)
        await asyncio.wait_for(fake.cancelled.wait(), 30)

    async def test_a_disconnect_of_a_slow_reader_cancels_the_call(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """A client that disconnects while it reads too slowly releases its request."""

        async def send_endlessly(*_: Any) -> AsyncGenerator[pb.StreamImagesResponse]:
            while True:
                yield image(0, data=PNG + bytes(2**20))

        fake.behave = send_endlessly
        async with stream_lines(gateway) as lines:
            await anext(lines)
        await asyncio.wait_for(fake.cancelled.wait(), 30)


class TestSdk:
    async def test_the_sdk_parses_events(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """The SDK parses its own event classes, previews first, and ends by itself."""
        fake.behave = images_with_previews(fake)
        stream = await sdk.images.generate(
            prompt="a lake", model="gpt-image-1", size="1024x1024", quality="high", stream=True, partial_images=3
        )
        received = [event async for event in stream]
        assert [event.type.rpartition(".")[2] for event in received] == ["partial_image"] * 3 + ["completed"]
        previews, last = received[:3], received[3]
        assert [event.partial_image_index for event in previews if event.type == "image_generation.partial_image"] == [
            0,
            1,
            2,
        ]
        assert last.type == "image_generation.completed"
        assert base64.b64decode(last.b64_json) == PNG + b"\0"
        assert last.usage.to_dict() == USAGE
        assert (last.quality, last.background, last.output_format) == ("high", "opaque", "png")
        assert last.created_at > 1_700_000_000

    async def test_the_sdk_raises_errors(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """The SDK raises an error within a stream, with its message and code."""
        fake.behave = failing_after_first_event(
            Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "too slow", "DEADLINE_EXCEEDED")
        )
        stream = await sdk.images.generate(prompt="x", stream=True)
        with pytest.raises(openai.APIError, match="too slow") as caught:
            [event async for event in stream]
        assert (caught.value.code, caught.value.type) == ("timeout", "server_error")

    async def test_closing_the_sdks_stream_cancels_the_call(self, sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
        """Closing the SDK's stream cancels the work."""
        fake.behave = sleep_long
        stream = await sdk.images.generate(prompt="x", stream=True)
        await stream.close()
        await asyncio.wait_for(fake.cancelled.wait(), 30)
