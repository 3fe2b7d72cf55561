"""The servicer behind a context as Ray's, which has neither `abort` nor `write`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.support.cluster.fake_ray import FakeContext
from tests.support.service.fakes import FakeDevice, FakeRepository
from tintype.cluster.context import AHEAD, CallAborted, CallContext
from tintype.service.api import ImageApi
from tintype.service.engine.events import Progress
from tintype.service.rpc.servicer import ImageServicer
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import REQUEST_ID
from tintype.v1.reasons import DETAILS


def servicer(device: FakeDevice | None = None) -> ImageServicer:
    return ImageServicer(ImageApi(FakeRepository(), device or FakeDevice()))  # type: ignore[arg-type]


def request(**fields: Any) -> pb.StreamImagesRequest:
    return pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(**{"prompt": "a lake", **fields}))


async def collect(served: ImageServicer, ray: FakeContext, **fields: Any) -> list[Any]:
    context = CallContext(ray)
    async with aclosing(context.stream(served.StreamImages(request(**fields), context))) as responses:  # type: ignore[arg-type]
        return [response async for response in responses]


def test_unary_call() -> None:
    """A call returns its response, with its id in the trailing metadata."""
    ray = FakeContext([(REQUEST_ID, "req-7")])
    context = CallContext(ray)
    call = servicer().GenerateImages(request().generation, context)  # type: ignore[arg-type]
    response = asyncio.run(context.run(call))
    assert len(response.images) == 1
    assert ray.trailing == [(REQUEST_ID, "req-7")]
    assert ray.code is None


def test_stream() -> None:
    """A stream yields every event, and the servicer is idle afterwards."""
    served = servicer()
    responses = asyncio.run(collect(served, FakeContext()))
    assert [response.WhichOneof("event") for response in responses][-2:] == ["image", "completed"]
    assert served.idle.is_set()


@pytest.mark.parametrize("streamed", [False, True])
def test_error_with_details(streamed: bool) -> None:  # noqa: FBT001
    """An error sets code, message and details, and then ends the call."""
    ray, served = FakeContext([(REQUEST_ID, "req-8")]), servicer()
    context = CallContext(ray)
    call = served.GenerateImages(request(steps=900).generation, context)  # type: ignore[arg-type]
    with pytest.raises(CallAborted):
        asyncio.run(collect(served, ray, steps=900) if streamed else context.run(call))
    if streamed:
        call.close()
    assert ray.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "steps: must be 1 to 150, not 900" in ray.details
    trailing = dict(ray.trailing)
    assert trailing[REQUEST_ID] == "req-8"
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status = status_pb2.Status.FromString(trailing[DETAILS])
    assert any(detail.Unpack(info) for detail in status.details)
    assert any(detail.Unpack(fields) for detail in status.details)
    assert (info.reason, fields.field_violations[0].field) == ("INVALID_FIELD", "steps")
    assert served.idle.is_set()


def test_closing_a_stream_cancels_its_job() -> None:
    """If Ray closes the generator because the client cancelled, the job is cancelled at once."""
    device = FakeDevice(lambda _: [Progress(0, 1, 4), 60.0])

    async def scenario() -> None:
        served, context = servicer(device), CallContext(FakeContext())
        stream = context.stream(served.StreamImages(request(), context))  # type: ignore[arg-type]
        await anext(stream)
        await stream.aclose()
        assert device.stopped.is_set()
        assert served.idle.is_set()

    asyncio.run(scenario())
    assert device.completed == 0


def test_cancelling_a_stream_cancels_its_job() -> None:
    """If Ray cancels the task that reads the generator, the job is cancelled, too."""
    device = FakeDevice(lambda _: [Progress(0, 1, 4), 60.0])

    async def scenario() -> None:
        task = asyncio.create_task(collect(servicer(device), FakeContext()))
        await device.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert device.stopped.is_set()

    asyncio.run(scenario())


def test_messages_ahead_are_bounded() -> None:
    """A reader that is slow holds up the writer."""

    async def scenario() -> None:
        context, written = CallContext(FakeContext()), 0

        async def write() -> None:
            nonlocal written
            for _ in range(AHEAD + 3):
                await context.write(pb.StreamImagesResponse())
                written += 1

        async with aclosing(context.stream(write())) as messages:
            await anext(messages)
            for _ in range(20):
                await asyncio.sleep(0)
            assert written == AHEAD + 1
            assert [message async for message in messages] == [pb.StreamImagesResponse()] * (AHEAD + 2)

    asyncio.run(scenario())


def test_failure_of_the_call_itself() -> None:
    """An exception inside the call is raised to Ray, after the events before it."""

    async def scenario() -> None:
        context = CallContext(FakeContext())

        async def fail() -> None:
            await context.write(pb.StreamImagesResponse())
            raise RuntimeError("bug")

        stream = context.stream(fail())
        await anext(stream)
        with pytest.raises(RuntimeError, match="bug"):
            await anext(stream)

    asyncio.run(scenario())
