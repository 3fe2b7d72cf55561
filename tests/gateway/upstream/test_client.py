"""The client of the gRPC service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.gateway.fakes import PNG, FakeService, Refusal, Service, image, make_images, sleep_long
from tintype.gateway.errors import ServiceError, StartError
from tintype.gateway.upstream.channel import Route, _grpc_target
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


async def test_requests_are_not_retried_after_the_first_event(service: Service, fake: FakeService) -> None:
    """A request that has started is not retried."""

    async def fail_after_an_image(_: Any, context: Any) -> Any:
        yield image()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "died")

    fake.behave = fail_after_an_image
    async with ServiceClient(Route(service.address)) as client:
        with pytest.raises(ServiceError) as caught:
            await client.generate(REQUEST)
    assert caught.value.status == 503
    assert len(fake.requests) == 1


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


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("10.0.0.1:1, 10.0.0.2:1", "ipv4:10.0.0.1:1,10.0.0.2:1"),
        ("dns:///images:50051", "dns:///images:50051"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
    ],
)
def test_grpc_target(text: str, target: str) -> None:
    """A target is one address, several, or any name that gRPC resolves."""
    assert _grpc_target(text) == target


async def test_a_missing_ca_is_named(tmp_path: Path) -> None:
    """The error for a missing CA file names it."""
    with pytest.raises(StartError, match=r"cannot read --tls-ca .*ca\.pem: No such file"):
        ServiceClient(Route("127.0.0.1:1", tls_ca=tmp_path / "ca.pem"))
