"""Calls that end before their images are done: disconnected clients and deadlines."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.service.fakes import UNPLANNED
from tintype.service.engine.events import Finished, Progress, Timings

NOISE = np.random.default_rng(0).random((3, 1280, 1280), np.float32)


@pytest.mark.parametrize("unary", [False, True])
def test_cancelled_call_cancels_its_job(
    running: Any, fake_device: Any, make_request: Any, unary: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """If the client cancels, the job is cancelled at once, in the middle of its work."""
    device = fake_device(lambda _: [Progress(0, 1, 4), 60.0])

    async def scenario() -> Any:
        async with running(device) as here:
            call = (
                here.stub.GenerateImages(make_request().generation) if unary else here.stub.StreamImages(make_request())
            )
            await asyncio.wait_for(device.started.wait(), 30)
            call.cancel()
            await asyncio.wait_for(device.stopped.wait(), 30)
            await asyncio.wait_for(here.server.servicer.idle.wait(), 30)

    caplog.set_level(logging.INFO)
    asyncio.run(scenario())
    assert device.completed == 0
    assert sum("status=CANCELLED" in message for message in caplog.messages) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_cancelled_call_of_a_client_that_does_not_read(running: Any, fake_device: Any, make_request: Any) -> None:
    """If a client that does not read its stream cancels, the job is cancelled."""
    image = Finished(0, 0, NOISE, Timings(), UNPLANNED)
    device = fake_device(lambda _: [image] * 50)

    async def scenario() -> Any:
        async with running(device, options=[("grpc.max_receive_message_length", -1)]) as here:
            call = here.stub.StreamImages(make_request(width=1280, height=1280))
            await call.read()
            await asyncio.sleep(0.3)  # until the flow control window is full
            call.cancel()
            await asyncio.wait_for(device.stopped.wait(), 30)
            await asyncio.wait_for(here.server.servicer.idle.wait(), 30)

    asyncio.run(scenario())


def test_failed_write_counts_as_cancelled(
    running: Any, fake_device: Any, make_request: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """If a client disconnects during a write, the job is cancelled and the log has no traceback."""
    device = fake_device(lambda _: [Progress(0, 1, 4), 60.0])

    async def lost(*_: object) -> None:
        raise grpc.aio.InternalError("the connection is gone")

    async def scenario() -> None:
        async with running(device) as here:
            servicer = here.server.servicer
            context = SimpleNamespace(
                invocation_metadata=tuple,
                set_trailing_metadata=lambda _: None,
                add_done_callback=lambda _: None,
                peer=lambda: "ipv4:127.0.0.1:1",
                time_remaining=lambda: None,
                write=lost,
            )
            with pytest.raises(asyncio.CancelledError):
                await servicer.StreamImages(make_request(), context)
            await asyncio.wait_for(device.stopped.wait(), 30)

    caplog.set_level(logging.INFO)
    asyncio.run(scenario())
    assert sum("status=CANCELLED" in message for message in caplog.messages) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(("timeout", "field", "earlier"), [(60, 5, 5), (5, 60, 5), (None, 7, 7), (9, None, 9)])
def test_earlier_of_deadline_and_timeout_applies(
    running: Any, make_request: Any, timeout: Any, field: Any, earlier: Any
) -> None:
    """The job's deadline is that of the call or of the field `timeout`, whichever is earlier."""

    async def scenario() -> Any:
        async with running() as here:
            request = make_request()
            if field:
                request.generation.timeout.seconds = field
            async for _ in here.stub.StreamImages(request, timeout=timeout):
                pass
            return here.device.jobs[0].deadline - time.monotonic()

    assert asyncio.run(scenario()) == pytest.approx(earlier, abs=1)


def test_call_without_deadline(running: Any, make_request: Any) -> None:
    """A call without deadline and timeout makes a job without deadline."""

    async def scenario() -> Any:
        async with running() as here:
            async for _ in here.stub.StreamImages(make_request()):
                pass
            return here.device.jobs[0]

    job = asyncio.run(scenario())
    assert job.deadline is None
    assert job.caller == "ipv4:127.0.0.1"
