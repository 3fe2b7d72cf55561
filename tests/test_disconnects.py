"""Many streams at once, and half of the clients disconnect: the others get everything, and nothing leaks."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from tests.support.serving import serving
from tintype.service import assembly
from tintype.service.engine import Engine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path


pytestmark = pytest.mark.slow

PATIENCE = 300  # seconds until a test that waits gives up
CLIENTS, COUNT, STEPS = 20, 2, 3
LEAVING = range(1, CLIENTS, 2)
PATH = "/v1/images/generations"


async def events(client: httpx.AsyncClient, number: int, steps: int) -> AsyncGenerator[dict[str, Any]]:
    """Request a stream, and yield its events."""
    asked = {"prompt": f"lake {number}", "n": COUNT, "steps": steps, "seed": number, "size": "64x64", "stream": True}
    async with client.stream("POST", PATH, json=asked | {"partial_images": 1}) as answer:
        assert answer.status_code == httpx.codes.OK, await answer.aread()
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))


async def stay(client: httpx.AsyncClient, number: int) -> list[dict[str, Any]]:
    """Return all events of a stream."""
    return [event async for event in events(client, number, STEPS)]


async def leave(client: httpx.AsyncClient, number: int, after: int) -> None:
    """Disconnect after `after` events; with 0, as soon as the request is sent."""
    stream = events(client, number, 150)
    reading = asyncio.ensure_future(anext(stream))
    for _ in range(after):
        await reading
        reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)  # let the request begin
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await stream.aclose()


def check(got: list[dict[str, Any]]) -> None:
    """Check that a client got all images, and that the last event is an image."""
    finals = [event for event in got if event["type"] == "image_generation.completed"]
    assert len(finals) == COUNT
    assert got[-1] is finals[-1]
    for event in finals:
        assert Image.open(io.BytesIO(base64.b64decode(event["b64_json"]))).size == (64, 64)


async def settled(done: Callable[[], bool]) -> None:
    """Wait until `done` is true."""
    async with asyncio.timeout(PATIENCE):
        while not done():  # noqa: ASYNC110 - what it waits for sets no event
            await asyncio.sleep(0.01)


def test_half_of_the_clients_disconnect(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Remaining clients get all images, tasks of the others are cancelled, and the server is idle and serves on."""
    caplog.set_level(logging.INFO, "tintype.service.rpc.servicer")
    engines: list[Engine] = []

    def engine(*arguments: Any, **settings: Any) -> Engine:
        engines.append(Engine(*arguments, **settings))
        return engines[-1]

    monkeypatch.setattr(assembly, "Engine", engine)

    async def scenario() -> None:
        limits = httpx.Limits(max_connections=None)
        async with (
            serving(tmp_path) as (server, _, url),
            httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits, trust_env=False) as client,
        ):
            check(await stay(client, 0))
            before = len(asyncio.all_tasks())
            leaving = [leave(client, number, after=number % 3) for number in LEAVING]
            staying = [stay(client, number) for number in range(0, CLIENTS, 2)]
            got = await asyncio.gather(*staying, *leaving)
            for one in got[: len(staying)]:
                check(one)
            await settled(lambda: server.servicer.idle.is_set() and not engines[0].busy)
            await settled(lambda: len(asyncio.all_tasks()) <= before)
            assert (await client.get("/v1/models")).status_code == httpx.codes.OK
            check(await stay(client, 0))

    asyncio.run(scenario())
    assert len(engines) == 1
    cancelled = sum("CANCELLED" in record.getMessage() for record in caplog.records)
    seen = sum(number % 3 > 0 for number in LEAVING)  # the others may disconnect before the service gets their request
    assert seen <= cancelled <= len(LEAVING)
