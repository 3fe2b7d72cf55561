"""Calls that fail, over a real channel: status, reason and details."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.service.fakes import UNPLANNED
from tests.support.service.rpc_errors import rpc_error, status_of
from tintype.service.engine.events import Completed, Failed, Finished, Progress, Timings
from tintype.service.errors import DeadlineExceeded, GenerationFailed, QueueFull, TintypeError
from tintype.service.rpc import calls
from tintype.v1 import image_service_pb2 as pb

NOISE = np.random.default_rng(0).random((3, 1280, 1280), np.float32)


@pytest.mark.parametrize(
    ("method", "request_", "code", "reason"),
    [
        ("GetModel", pb.GetModelRequest(model="nope"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ("LoadModel", pb.LoadModelRequest(model="nope"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ("UnloadModel", pb.UnloadModelRequest(model="nope"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ("UnloadModel", pb.UnloadModelRequest(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ("GenerateImages", pb.GenerateImagesRequest(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ("UpscaleImage", pb.UpscaleImageRequest(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ("UpscaleImage", pb.UpscaleImageRequest(image=b"text"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
)
def test_errors_carry_their_reason(running: Any, method: Any, request_: Any, code: Any, reason: Any) -> None:
    """Every error has its code, the domain and its reason, in the call's status and in its details."""

    async def scenario() -> Any:
        async with running() as here:
            return await rpc_error(getattr(here.stub, method)(request_))

    error = asyncio.run(scenario())
    status, details = status_of(error)
    assert error.code() is code
    assert (status.code, status.message) == (code.value[0], error.details())
    assert (details["ErrorInfo"].reason, details["ErrorInfo"].domain) == (reason, "tintype")


def test_all_violations_arrive(running: Any, make_request: Any) -> None:
    """A request with several invalid fields fails with one violation for each."""

    async def scenario() -> Any:
        async with running() as here:
            return await rpc_error(here.stub.StreamImages(make_request(prompt="", steps=900, width=-1)).read())

    _, details = status_of(asyncio.run(scenario()))
    violations = {v.field: v.description for v in details["BadRequest"].field_violations}
    assert violations == {
        "prompt": "must not be empty",
        "steps": "must be 1 to 150, not 900",
        "width": "must be 16 to 4096, not -1",
    }


def test_files_are_decoded_before_the_engine(running: Any, make_request: Any) -> None:
    """The file of a ControlNet is decoded like an image to start from: an unreadable one is named."""
    unreadable = [pb.Control(name="canny", image=b"text")]

    async def scenario() -> Any:
        async with running() as here:
            return await rpc_error(here.stub.StreamImages(make_request(controls=unreadable)).read())

    _, details = status_of(asyncio.run(scenario()))
    assert [v.field for v in details["BadRequest"].field_violations] == ["controls[0].image"]


def test_engine_error_follows_earlier_events(running: Any, fake_device: Any, make_request: Any) -> None:
    """Events before an engine's error arrive, then the error with its retry delay."""
    device = fake_device(lambda _: [Progress(0, 1, 4), Failed(QueueFull("too many wait", retry_after=2.5))])

    async def scenario() -> Any:
        async with running(device) as here:
            call = here.stub.StreamImages(make_request())
            return await call.read(), await rpc_error(call.read())

    first, error = asyncio.run(scenario())
    _, details = status_of(error)
    assert first.progress.step == 1
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details["RetryInfo"].retry_delay.ToMilliseconds() == 2500


def test_unexpected_exception_is_internal(
    running: Any, fake_device: Any, make_request: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected exception is INTERNAL and does not reveal its text; the log has its traceback."""
    device = fake_device(lambda _: [ValueError("secret /home/me")])

    async def scenario() -> Any:
        async with running(device) as here:
            return await rpc_error(here.stub.StreamImages(make_request()).read())

    error = asyncio.run(scenario())
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details()) + str(error.trailing_metadata())
    assert any("secret /home/me" in str(record.exc_info) for record in caplog.records)


@pytest.mark.parametrize("error", [GenerationFailed("black"), DeadlineExceeded("late"), TintypeError("odd")])
def test_unary_call_has_the_same_errors(running: Any, fake_device: Any, error: Any) -> None:
    """GenerateImages ends with the same status as StreamImages."""

    async def scenario() -> Any:
        async with running(fake_device(lambda _: [Failed(error)])) as here:
            return await rpc_error(here.stub.GenerateImages(pb.GenerateImagesRequest(prompt="x")))

    status, details = status_of(asyncio.run(scenario()))
    assert status.message == error.message
    assert details["ErrorInfo"].reason == error.reason


def test_response_above_the_message_limit(
    running: Any, fake_device: Any, make_request: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the unary call suggests StreamImages, which has no limit for all images together."""
    monkeypatch.setattr(calls, "MAX_MESSAGE", 9 * 2**20)
    images = [Finished(k, k, NOISE, Timings(), UNPLANNED) for k in range(2)]
    device = fake_device(lambda _: [*images, Completed("first", 2, 2, 1, Timings())])

    async def scenario() -> Any:
        async with running(device, options=[("grpc.max_receive_message_length", 2**26)]) as here:
            request = make_request(width=1280, height=1280, count=2)
            error = await rpc_error(here.stub.GenerateImages(request.generation))
            return error, [len(r.image.data) async for r in here.stub.StreamImages(request)]

    error, sizes = asyncio.run(scenario())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "StreamImages" in error.details()
    assert min(sizes[:2]) > 4 * 2**20
