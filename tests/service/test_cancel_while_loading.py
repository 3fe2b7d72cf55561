"""A caller who leaves while the model is still loading, over a real channel: nothing is drawn, and the model comes."""

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
    """A loader that is half done until it is let go on; `loads` counts how often it was asked."""

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


def seen(monkeypatch: pytest.MonkeyPatch, verb: str) -> threading.Event:
    """Return what is set once the engine has done a verb."""
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
def test_who_leaves_while_the_model_loads(monkeypatch: pytest.MonkeyPatch, streamed: bool) -> None:  # noqa: FBT001
    """Loading is told half done and goes on; no prompt of theirs is read, and who stayed gets the picture."""
    encoded: list[str] = []
    encode = runner.encode

    def noting(model: Any, plan: Any, *at: Any) -> Any:
        encoded.append(plan.prompts[0].text)
        return encode(model, plan, *at)

    monkeypatch.setattr(runner, "encode", noting)
    gate, came, left = Gate(monkeypatch), seen(monkeypatch, "admit"), seen(monkeypatch, "cancel")

    async def scenario() -> Any:
        async with (
            start(ServiceConfig(grpc="127.0.0.1:0", threads=1)) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            stub = pb_grpc.ImageServiceStub(channel)
            leaves = pb.GenerateImagesRequest(prompt="who leaves", steps=2)
            stays = pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="who stays", steps=2))
            whole = pb.StreamImagesRequest(generation=leaves)
            call: Any = stub.StreamImages(whole) if streamed else stub.GenerateImages(leaves)
            sent = asyncio.ensure_future(call.read() if streamed else call.code())
            assert await asyncio.to_thread(came.wait, PATIENCE)
            stream = stub.StreamImages(stays)
            while not (told := (await until(stream, "loading")).fraction):
                pass  # the loader has not got so far
            model = (await stub.GetModel(pb.GetModelRequest())).model
            call.cancel()
            assert await asyncio.to_thread(left.wait, PATIENCE)
            gate.open.set()
            image = await until(stream, "image")
            await until(stream, "completed")
            await asyncio.wait_for(server.servicer.idle.wait(), PATIENCE)
            await asyncio.wait([sent])
            return told, model, image, await call.code()

    try:
        told, model, image, code = asyncio.run(scenario())
    finally:
        gate.open.set()
    assert (told, model.state, model.load_fraction) == (0.5, pb.MODEL_STATE_LOADING, 0.5)
    assert image.data
    assert code is grpc.StatusCode.CANCELLED
    assert encoded == ["who stays"]
    assert gate.loads == 1
