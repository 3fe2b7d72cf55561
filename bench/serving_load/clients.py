"""Requests over REST and gRPC, at given times or one after another."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import numpy as np

from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

SIZE = 256
STEPS, GUIDANCE = 4, 1.0
SHARES = (50, 95, 99)


class Answer(NamedTuple):
    """Seconds from when the request was due to its last byte, and whether it was refused."""

    seconds: float
    refused: bool


def http_request(address: str, values: dict[str, Any], *, close: bool = True) -> bytes:
    """Return a request for images as bytes."""
    body = json.dumps(values)
    connection = "connection: close\r\n" if close else ""
    head = f"POST /v1/images/generations HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer none\r\n{connection}"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection."""
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port), limit=2**22)


class Rest:
    """Asks a gateway for one image per request, each on a connection of its own."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def send(self, seed: int, steps: int = STEPS) -> bool:
        """Return whether a request was answered with an image; False: refused. Raises RuntimeError otherwise."""
        reader, writer = await self.start(seed, steps)
        answer = await reader.read(-1)
        writer.close()
        if answer.startswith((b"HTTP/1.1 429", b"HTTP/1.1 503")):
            return False
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"expected status 200; got {answer[:300]!r}")
        return True

    async def start(self, seed: int, steps: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request, and return its connection."""
        values = {"prompt": "a lake", "size": f"{SIZE}x{SIZE}", "steps": steps, "guidance_scale": GUIDANCE}
        reader, writer = await connect(self._address)
        writer.write(http_request(self._address, values | {"seed": seed, "response_format": "b64_json"}))
        return reader, writer


class Grpc:
    """Asks a service for one image per request, all on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = pb_grpc.ImageServiceStub(channel)

    async def send(self, seed: int, steps: int = STEPS) -> bool:
        """Return whether a request was answered with an image; False: refused."""
        request = pb.GenerateImagesRequest(
            prompt="a lake", seed=seed, steps=steps, width=SIZE, height=SIZE, guidance_scale=GUIDANCE
        )
        try:
            await self._stub.GenerateImages(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return False
        return True


async def closed_loop(send: Callable[[int], Awaitable[bool]], workers: int, seconds: float) -> float:
    """Return answers per second of `workers`, each of which sends its next request after the last answer."""
    began, seeds = time.perf_counter(), iter(range(10**9))

    async def worker() -> int:
        done = 0
        while time.perf_counter() < began + seconds:
            done += await send(next(seeds))
        return done

    done = sum(await asyncio.gather(*(worker() for _ in range(workers))))
    return done / (time.perf_counter() - began)


async def open_loop(send: Callable[[int], Awaitable[bool]], rate: float, seconds: float, seed: int) -> list[Answer]:
    """Send requests at the times of a Poisson process, whatever the server does; return their answers."""
    draw, due, at = random.Random(seed), [], 0.0  # noqa: S311 - arrivals
    while at < seconds:
        at += draw.expovariate(rate)
        due.append(at)
    began = time.perf_counter()

    async def one(number: int, after: float) -> Answer:
        await asyncio.sleep(max(0.0, began + after - time.perf_counter()))
        answered = await send(number)
        return Answer(time.perf_counter() - began - after, not answered)

    return list(await asyncio.gather(*(one(number, after) for number, after in enumerate(due))))


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return the 50th, 95th and 99th percentile in seconds."""
    if not seconds:
        return {}
    return {f"p{share}": round(float(np.percentile(seconds, share)), 5) for share in SHARES}
