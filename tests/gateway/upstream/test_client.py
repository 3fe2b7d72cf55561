"""The client of the gRPC service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.gateway.fakes import PNG, FakeService, Refusal, Service, image, make_images, sleep_long
from tintype.gateway.errors import StartError
from tintype.gateway.upstream.channel import Route
from tintype.gateway.upstream.client import ServiceClient
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

REQUEST = pb.StreamImagesRequest(
    generation=pb.GenerateImagesRequest(prompt="x", count=3, output=pb.OutputFormat(mime_type="image/png"))
)


async def test_generate_orders_images_by_index(service: Service) -> None:
    """Images are ordered by index, with the summary of the last event."""
    async with ServiceClient(Route(service.address)) as client:
        answer = await client.generate(REQUEST, "id")
    assert [image.data for image in answer.images] == [PNG + bytes([index]) for index in range(3)]
    assert (answer.model, answer.usage.prompt_tokens, answer.HasField("timings")) == ("tiny", 7, False)
    assert not REQUEST.generation.HasField("timeout")


async def test_large_images_are_received(service: Service, fake: FakeService) -> None:
    """Images far above gRPC's default limit of 4 MiB are received."""

    async def large(*_: Any) -> Any:
        for index in range(3):
            yield image(index, data=bytes(20 * 2**20))
        yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))

    fake.behave = large
    async with ServiceClient(Route(service.address)) as client:
        answer = await client.generate(REQUEST)
    assert [len(image.data) for image in answer.images] == [20 * 2**20] * 3
    assert not answer.HasField("usage")


async def test_unavailable_replicas_are_retried(service: Service, fake: FakeService) -> None:
    """A replica that is unavailable causes no error."""
    refusal = Refusal(grpc.StatusCode.UNAVAILABLE, "draining", "UNAVAILABLE")

    async def succeed_at_third_try(request: pb.GenerateImagesRequest, context: Any) -> Any:
        async for event in (refusal if len(fake.requests) < 3 else make_images)(request, context):
            yield event

    fake.behave = succeed_at_third_try
    async with ServiceClient(Route(service.address)) as client:
        assert len((await client.generate(REQUEST)).images) == 3
    assert len(fake.requests) == 3


async def test_cancelling_a_task_cancels_its_call(service: Service, fake: FakeService) -> None:
    """Cancelling a task cancels its call."""
    fake.behave = sleep_long
    async with ServiceClient(Route(service.address)) as client:
        task = asyncio.create_task(client.generate(REQUEST))
        await fake.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(fake.cancelled.wait(), 30)


async def test_proxy_settings_are_ignored(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy settings of the environment are ignored."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with ServiceClient(Route(service.address)) as client:
        assert len((await client.generate(REQUEST)).images) == 3


async def test_a_missing_ca_is_named(tmp_path: Path) -> None:
    """The error for a missing CA file names it."""
    with pytest.raises(StartError, match=r"cannot read --tls-ca .*ca\.pem: No such file"):
        ServiceClient(Route("127.0.0.1:1", tls_ca=tmp_path / "ca.pem"))
