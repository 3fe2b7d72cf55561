"""A client that disconnects stops the device: over HTTP and gRPC, streamed or not, in every phase."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.serving import serving
from tintype.service.engine import runner
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

PATIENCE = 60  # seconds until a test that waits gives up
STEPS, COUNT = 10, 10


class Gate:
    """Blocks the device in a phase until `left` is set, and counts the calls of each phase."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.reached, self.left = asyncio.Event(), asyncio.Event()
        self.calls: dict[str, int] = {}
        for name in ("encode", "denoise", "decode"):
            monkeypatch.setattr(runner, name, self._counted(name, phase, getattr(runner, name)))

    def _counted(self, name: str, phase: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self.calls[name] = self.calls.get(name, 0) + 1
            if name == phase and self.calls[name] == 1:
                self.loop.call_soon_threadsafe(self.reached.set)
                asyncio.run_coroutine_threadsafe(self.left.wait(), self.loop).result(PATIENCE)
            return work(*arguments)

        return counted


async def rest(address: str, gate: asyncio.Event, *, streamed: bool) -> None:
    """Request images over HTTP, and disconnect once `gate` is set."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    asked = {"prompt": "a lake", "n": COUNT, "steps": STEPS, "stream": streamed}
    body = json.dumps(asked).encode()
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await asyncio.wait_for(gate.wait(), PATIENCE)
    writer.close()
    await writer.wait_closed()


async def rpc(address: str, gate: asyncio.Event, *, streamed: bool) -> None:
    """Request images over gRPC, and cancel once `gate` is set."""
    generation = pb.GenerateImagesRequest(prompt="a lake", count=COUNT, steps=STEPS)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = pb_grpc.ImageServiceStub(channel)
        call = (
            stub.StreamImages(pb.StreamImagesRequest(generation=generation))
            if streamed
            else stub.GenerateImages(generation)
        )
        await asyncio.wait_for(gate.wait(), PATIENCE)
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "streamed"])
@pytest.mark.parametrize("client", [rest, rpc])
@pytest.mark.parametrize("phase", ["encode", "denoise", "decode"])
def test_disconnecting_stops_the_device(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    phase: str,
    client: Any,
    streamed: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The running unit is the last one of the cancelled task; later units never run."""

    async def scenario() -> dict[str, int]:
        gate = Gate(monkeypatch, phase)
        async with serving(tmp_path) as (server, address, url):
            await client(url if client is rest else address, gate.reached, streamed=streamed)
            await asyncio.wait_for(
                server.servicer.idle.wait(), PATIENCE
            )  # the service has cancelled it while the device is busy
            gate.left.set()
            async with grpc.aio.insecure_channel(address) as channel:
                quick = pb.GenerateImagesRequest(prompt="the next", steps=1, guidance_scale=1)
                await pb_grpc.ImageServiceStub(channel).GenerateImages(quick, timeout=PATIENCE)
        return gate.calls

    calls = asyncio.run(scenario())
    phases = ("encode", "denoise", "decode")
    own = {name: calls[name] - 1 for name in phases}  # of the cancelled task; the next one took one call of each
    later = phases[phases.index(phase) + 1 :]
    assert own[phase] == 1
    assert [own[name] for name in later] == [0] * len(later)
