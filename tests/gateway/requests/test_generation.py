"""Image generation over HTTP with a real gRPC server: requests, results, disconnects."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from tests.support.gateway.fakes import (
    PATH,
    PNG,
    FakeService,
    Refusal,
    Service,
    config,
    disconnect_once_started,
    image,
    running_gateway,
    sleep_long,
)
from tests.support.gateway.openai_errors import check_error
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio


class TestImages:
    async def test_base64_images_are_ordered_by_index(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """`b64_json` is the file's bytes, ordered by index, each with its seed and no null key."""
        answer = await gateway.post(PATH, json={"prompt": "a lake", "n": 3, "response_format": "b64_json"})
        assert answer.status_code == 200
        assert [base64.b64decode(item["b64_json"], validate=True) for item in answer.json()["data"]] == [
            PNG + bytes([index]) for index in range(3)
        ]
        assert [set(item) for item in answer.json()["data"]] == [{"b64_json", "seed"}] * 3
        assert isinstance(answer.json()["created"], int)
        assert fake.requests[0].prompt == "a lake"

    async def test_links_need_no_credential(self, gateway: httpx.AsyncClient) -> None:
        """By default the response has links, which need no credential and end in the type's extension."""
        answer = await gateway.post(PATH, json={"prompt": "a lake", "n": 2, "output_format": "jpeg"})
        links = [item["url"] for item in answer.json()["data"]]
        assert [set(item) for item in answer.json()["data"]] == [{"url", "seed"}] * 2
        for index, link in enumerate(links):
            assert link.startswith(str(gateway.base_url))
            assert link.endswith(".jpg")
            assert "&" not in link
            async with httpx.AsyncClient(trust_env=False) as other_client:
                file = await other_client.get(link)
            assert file.content == PNG + bytes([index])
            assert file.headers["content-type"] == "image/jpeg"
            assert file.headers["x-content-type-options"] == "nosniff"
            assert file.headers["cache-control"].startswith("private, max-age=3")

    async def test_paths_without_v1_are_served(self, gateway: httpx.AsyncClient) -> None:
        """Clients whose base URL has no `/v1` are served."""
        assert (await gateway.post("/images/generations", json={"prompt": "x"})).status_code == 200

    async def test_the_service_gets_deadline_caller_and_id(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """The service gets the deadline (in gRPC and in the request), the caller and the request's id."""
        answer = await gateway.post(PATH, json={"prompt": "x"}, headers={"x-request-id": "mine-1"})
        assert answer.headers["x-request-id"] == "mine-1"
        assert fake.metadata[0]["x-request-id"] == "mine-1"
        assert fake.requests[0].caller == "127.0.0.1"
        assert fake.requests[0].timeout.seconds == 20
        assert 10 < fake.remaining[0] < 21

    async def test_an_invalid_host_is_refused(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """An invalid host is refused before an image is generated."""
        answer = await gateway.post(PATH, json={"prompt": "x"}, headers={"host": '"><script>'})
        assert "host" in check_error(answer, 400, "invalid_request_error", None, None)
        assert not fake.requests

    async def test_unknown_keys_are_named_in_a_header(self, gateway: httpx.AsyncClient) -> None:
        """Unknown keys are accepted and named in a header, which they can't break; null counts as absent."""
        body = {"prompt": "x", "odd": 1, "a\r\nset-cookie: b": 1, "ü": 2, "none": None}
        answer = await gateway.post(PATH, json=body)
        assert answer.status_code == 200
        assert answer.headers["x-tintype-ignored"] == "odd, a%0D%0Aset-cookie%3A%20b, %C3%BC"
        assert "set-cookie" not in answer.headers
        assert "x-tintype-ignored" not in (await gateway.post(PATH, json={"prompt": "x"})).headers

    async def test_unsupported_optional_fields_are_dropped(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A documented quality or style is dropped for a model that has none, and the header names it."""
        behave = fake.behave

        async def without_presets(request: pb.GenerateImagesRequest, context: Any) -> Any:
            field = "quality" if request.quality else "style" if request.style else ""
            refusal = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=[(field, "none")])
            async for event in (refusal if field else behave)(request, context):
                yield event

        fake.behave = without_presets
        body = {"prompt": "x", "quality": "high", "style": "vivid", "odd": 1}
        answer = await gateway.post(PATH, json=body)
        assert answer.status_code == 200
        assert "quality" not in answer.json()
        assert answer.headers["x-tintype-ignored"] == "odd, quality, style"
        assert [(request.quality, request.style) for request in fake.requests] == [
            ("high", "vivid"),
            ("", "vivid"),
            ("", ""),
        ]

    async def test_unsupported_fields_do_not_hide_other_errors(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """An optional field does not hide another error, and a field that was not sent can't be dropped."""
        both = [("quality", "none"), ("steps", "bad")]
        fake.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=both)
        answer = await gateway.post(PATH, json={"prompt": "x", "quality": "hd"})
        check_error(answer, 400, "invalid_request_error", "invalid_value", "quality")
        fake.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=both[:1])
        answer = await gateway.post(PATH, json={"prompt": "x"})
        check_error(answer, 400, "invalid_request_error", "invalid_value", "quality")
        assert len(fake.requests) == 2

    async def test_unknown_keys_can_be_errors(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """If configured, an unknown key is an error, and no image is generated."""
        async with running_gateway(config(service, tmp_path, strict_parameters=True)) as client:
            answer = await client.post(PATH, json={"prompt": "x", "odd": 1})
        assert "odd" in check_error(answer, 400, "invalid_request_error", "unknown_parameter", "odd")
        assert not fake.requests

    async def test_overridden_keys_are_no_errors(self, service: Service, tmp_path: Path) -> None:
        """A known key without effect is not an error; the header names it."""
        async with running_gateway(config(service, tmp_path, strict_parameters=True)) as client:
            answer = await client.post(PATH, json={"prompt": "x", "size": "64x64", "width": 32})
        assert (answer.status_code, answer.headers["x-tintype-ignored"]) == (200, "width")

    async def test_the_default_response_format_is_a_setting(self, service: Service, tmp_path: Path) -> None:
        """The default response format is a setting; a format in the request takes precedence."""
        async with running_gateway(config(service, tmp_path, response_format="b64_json")) as client:
            for path in (PATH, "/aqueduct/v1/images/generations", "/api/ai/images/generate"):
                answer = (await client.post(path, json={"prompt": "x"})).json()
                assert "b64_json" in answer.get("data", answer.get("images"))[0]
                answer = (await client.post(path, json={"prompt": "x", "response_format": "url"})).json()
                assert "b64_json" not in answer.get("data", answer.get("images"))[0]

    async def test_links_begin_with_the_public_url(self, service: Service, tmp_path: Path) -> None:
        """Links begin with the configured public URL."""
        async with running_gateway(config(service, tmp_path, public_url="https://pics.example/x/")) as client:
            answer = await client.post(PATH, json={"prompt": "x"})
        assert answer.json()["data"][0]["url"].startswith("https://pics.example/x/files/")

    async def test_links_work_after_a_restart(self, service: Service, tmp_path: Path) -> None:
        """A link works after a restart of the gateway."""
        async with running_gateway(config(service, tmp_path)) as client:
            link = urlsplit((await client.post(PATH, json={"prompt": "x"})).json()["data"][0]["url"]).path
        async with running_gateway(config(service, tmp_path)) as client:
            assert (await client.get(link)).content == PNG + b"\0"

    @pytest.mark.parametrize(("native_size", "expected"), [((128, 96), "128x96"), ((64, 64), None), ((0, 0), None)])
    async def test_a_native_size_is_named_in_a_header(
        self, gateway: httpx.AsyncClient, fake: FakeService, native_size: tuple[int, int], expected: str | None
    ) -> None:
        """A header names the size that the model generated, if it differs from the image's."""

        async def resampled_image(*_: Any) -> AsyncGenerator[pb.StreamImagesResponse]:
            yield image(0, native_width=native_size[0], native_height=native_size[1])
            yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny", usage=pb.Usage(images=1)))

        fake.behave = resampled_image
        answer = await gateway.post(PATH, json={"prompt": "x"})
        assert answer.headers.get("x-tintype-native-size") == expected


class TestDisconnect:
    async def test_a_disconnect_cancels_the_call(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """When the client disconnects, the call of the service is cancelled at once."""
        fake.behave = sleep_long
        await disconnect_once_started(gateway.post(PATH, json={"prompt": "x"}), fake)
        await asyncio.wait_for(fake.cancelled.wait(), 30)

    async def test_a_disconnect_does_not_affect_other_requests(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """Other running requests are not affected."""
        proceed = asyncio.Event()
        normal = fake.behave

        async def wait(request: pb.GenerateImagesRequest, context: Any) -> Any:
            await proceed.wait()
            async for event in normal(request, context):
                yield event

        fake.behave = wait
        other = asyncio.create_task(gateway.post(PATH, json={"prompt": "other"}))
        await disconnect_once_started(gateway.post(PATH, json={"prompt": "x"}), fake, number=2)
        await asyncio.wait_for(fake.cancelled.wait(), 30)
        proceed.set()
        assert (await other).status_code == 200
