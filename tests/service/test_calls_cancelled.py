"""Calls that end before their pictures are done: clients that leave, deadlines."""

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
def test_cancelling_a_call_frees_its_job(
    running: Any, fake_device: Any, make_request: Any, unary: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The device is let go at once when the client cancels, in the middle of whatever it does."""
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


def test_cancelling_while_the_client_does_not_read_frees_the_job(
    running: Any, fake_device: Any, make_request: Any
) -> None:
    """A client that stops reading and then leaves does not keep its job."""
    picture = Finished(0, 0, NOISE, Timings(), UNPLANNED)
    device = fake_device(lambda _: [picture] * 50)

    async def scenario() -> Any:
        async with running(device, options=[("grpc.max_receive_message_length", -1)]) as here:
            call = here.stub.StreamImages(make_request(width=1280, height=1280))
            await call.read()
            await asyncio.sleep(0.3)  # the flow control window fills
            call.cancel()
            await asyncio.wait_for(device.stopped.wait(), 30)
            await asyncio.wait_for(here.server.servicer.idle.wait(), 30)

    asyncio.run(scenario())


def test_a_write_that_fails_is_no_fault_of_ours(
    running: Any, fake_device: Any, make_request: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller that leaves while something is sent to it has cancelled: its job is freed, the log has no traceback."""
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
def test_the_earlier_of_deadline_and_timeout_counts(
    running: Any, make_request: Any, timeout: Any, field: Any, earlier: Any
) -> None:
    """The job's deadline is the call's or the field's, whichever comes first."""

    async def scenario() -> Any:
        async with running() as here:
            request = make_request()
            if field:
                request.generation.timeout.seconds = field
            async for _ in here.stub.StreamImages(request, timeout=timeout):
                pass
            return here.device.jobs[0].deadline - time.monotonic()

    assert asyncio.run(scenario()) == pytest.approx(earlier, abs=1)  # and far from the other


def test_a_call_without_deadline_has_none(running: Any, make_request: Any) -> None:
    """No deadline and no timeout: the job has all the time there is."""

    async def scenario() -> Any:
        async with running() as here:
            async for _ in here.stub.StreamImages(make_request()):
                pass
            return here.device.jobs[0]

    job = asyncio.run(scenario())
    assert job.deadline is None
    assert job.caller == "ipv4:127.0.0.1"
