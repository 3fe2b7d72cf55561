"""Measure the gateway alone: one worker in front of a service that answers at once.

    python bench/gateway.py [--seconds 5] [--connections 16]

The gateway runs in its own process, with a stub in place of its gRPC client; this process sends the requests. Both
share the machine's cores, so the figures are a lower bound. Compare only runs on one machine.
Goals: 1,000 small responses per second, and 8 responses of 10 x 1.5 MB in base64 per second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tintype.gateway.app import create_app
from tintype.gateway.config import GatewayConfig
from tintype.v1 import image_service_pb2 as pb

SMALL, LARGE = 100, 1_500_000  # bytes of one image
# Name -> bytes of an image, images in a response, response format.
LOADS = {
    "small, b64_json": (SMALL, 1, "b64_json"),
    "small, url": (SMALL, 1, "url"),
    "10 x 1.5 MB, b64_json": (LARGE, 10, "b64_json"),
    "10 x 1.5 MB, url": (LARGE, 10, "url"),
}


class InstantService:
    """A service that answers at once; the prompt is the size of each image in bytes."""

    def __init__(self) -> None:
        self.files = {size: os.urandom(size) for size in (SMALL, LARGE)}

    async def generate(self, request: pb.StreamImagesRequest, _: str = "") -> pb.GenerateImagesResponse:
        """Return the requested number of images."""
        data = self.files[int(request.generation.prompt)]
        image = pb.Image(data=data, mime_type="image/png", width=1024, height=1024)
        return pb.GenerateImagesResponse(images=[image] * request.generation.count, model="instant")

    async def models(self) -> list[pb.Model]:
        """Return no model."""
        return []

    async def model(self, name: str) -> pb.Model:
        """Return any model."""
        return pb.Model(name=name)

    async def ready(self) -> bool:
        """Return True."""
        return True


def serve(port: int, data: str) -> None:
    """Run the gateway with the stub."""
    import uvicorn  # noqa: PLC0415 - only the served process needs it

    client: Any = InstantService()
    app = create_app(GatewayConfig(data=Path(data)), client)
    uvicorn.run(app, port=port, http="httptools", loop="uvloop", log_level="warning", access_log=False)


def http_request(size: int, count: int, kind: str) -> bytes:
    """Return one HTTP request as bytes."""
    body = f'{{"prompt":"{size}","n":{count},"response_format":"{kind}"}}'.encode()
    head = "POST /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def send_repeatedly(port: int, request: bytes, until: float) -> int:
    """Repeat a request on one connection until the time `until`; return the number of responses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    done = 0
    while time.perf_counter() < until:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise SystemExit(f"expected status 200 from the gateway; got {head[:200]!r}")
        left = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        while left:
            left -= len(await reader.read(min(left, 2**20)))
        done += 1
    writer.close()
    return done


async def measure(port: int, request: bytes, seconds: float, connections: int) -> float:
    """Return responses per second."""
    start = time.perf_counter()
    done = await asyncio.gather(*(send_repeatedly(port, request, start + seconds) for _ in range(connections)))
    return sum(done) / (time.perf_counter() - start)


async def wait_until_up(port: int) -> None:
    """Wait until the gateway accepts connections."""
    for _ in range(100):
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
        except OSError:
            await asyncio.sleep(0.1)
        else:
            return
    raise SystemExit("the gateway did not start")


async def main(seconds: float, connections: int, port: int) -> None:
    """Run every load and print its rate."""
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, __file__, "--serve", data, "--port", str(port)]
        server = subprocess.Popen(command)  # noqa: ASYNC220, S603 - nothing runs on the loop yet
        try:
            await wait_until_up(port)
            for name, (size, count, kind) in LOADS.items():
                request = http_request(size, count, kind)
                rate = await measure(port, request, seconds, connections if size == SMALL else 2)
                print(f"{name:24} {rate:10.1f} /s")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--serve", metavar="DATA", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.port, arguments.serve)
    else:
        asyncio.run(main(arguments.seconds, arguments.connections, arguments.port))
