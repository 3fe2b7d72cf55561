"""A request that is cancelled while its model loads, over a real channel."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tintype.service.config import ServiceConfig
from tintype.service.engine import Engine, runner
from tintype.service.models.pipeline.pipeline import load
from tintype.service.models.residency import loading
from tintype.service.server import start
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60  # seconds until a test that waits gives up


class Gate:
    """A loader that stops at half of its progress until it is opened; `loads` counts its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.loads = 0
        self._load = load
        monkeypatch.setattr(loading, "load", self)

    def __call__(self, manifest: Any, runtime: Any, progress: Callable[[float], None]) -> Any:
        self.loads += 1
        progress(0.5)
        assert self.open.wait(PATIENCE)
        return self._load(manifest, runtime, progress)


def called(monkeypatch: pytest.MonkeyPatch, verb: str) -> threading.Event:
    """Return an event that is set after the engine's method `verb` was called."""
    done, work = threading.Event(), getattr(Engine, verb)

    def doing(*arguments: Any) -> Any:
        try:
            return work(*arguments)
        finally:
            done.set()

    monkeypatch.setattr(Engine, verb, doing)
    return done


async def until(stream: Any, kind: str) -> Any:
    """Return the next event of a kind."""
    while True:
        answer = await asyncio.wait_for(stream.read(), PATIENCE)
        if answer.HasField(kind):
            return getattr(answer, kind)


@pytest.mark.parametrize("streamed", [True, False])
def test_cancel_while_the_model_loads(monkeypatch: pytest.MonkeyPatch, streamed: bool) -> None:  # noqa: FBT001
    """Loading continues for the other request; the prompt of the cancelled request is never encoded."""
    encoded: list[str] = []
    encode = runner.encode

    def recording(model: Any, plan: Any, *at: Any) -> Any:
        encoded.append(plan.prompts[0].text)
        return encode(model, plan, *at)

    monkeypatch.setattr(runner, "encode", recording)
    gate, admitted, cancelled = Gate(monkeypatch), called(monkeypatch, "admit"), called(monkeypatch, "cancel")

    async def scenario() -> Any:
        async with (
            start(ServiceConfig(grpc="127.0.0.1:0", threads=1)) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            stub = pb_grpc.ImageServiceStub(channel)
            cancels = pb.GenerateImagesRequest(prompt="cancelled", steps=2)
            stays = pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="stays", steps=2))
            stream_request = pb.StreamImagesRequest(generation=cancels)
            call: Any = stub.StreamImages(stream_request) if streamed else stub.GenerateImages(cancels)
            sent = asyncio.ensure_future(call.read() if streamed else call.code())
            assert await asyncio.to_thread(admitted.wait, PATIENCE)
            stream = stub.StreamImages(stays)
            while not (fraction := (await until(stream, "loading")).fraction):
                pass  # loading has not begun
            model = (await stub.GetModel(pb.GetModelRequest())).model
            call.cancel()
            assert await asyncio.to_thread(cancelled.wait, PATIENCE)
            gate.open.set()
            image = await until(stream, "image")
            await until(stream, "completed")
            await asyncio.wait_for(server.servicer.idle.wait(), PATIENCE)
            await asyncio.wait([sent])
            return fraction, model, image, await call.code()

    try:
        fraction, model, image, code = asyncio.run(scenario())
    finally:
        gate.open.set()
    assert (fraction, model.state, model.load_fraction) == (0.5, pb.MODEL_STATE_LOADING, 0.5)
    assert image.data
    assert code is grpc.StatusCode.CANCELLED
    assert encoded == ["stays"]
    assert gate.loads == 1
