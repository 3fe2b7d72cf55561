"""Measure the service's memory over many random requests, a fifth of which are cancelled at a random moment.

    python bench/soak.py [--requests 1000] [--workers 6] [--seed 0] [--results bench/results/soak.json]

A child process serves the built-in model. Requests have random sizes (eight), samplers (all), input images, masks,
counts and file types, and are streams with previews or plain calls. After every hundred requests, while nothing runs,
the child's resident memory is read from /proc (Linux only). A request must end with its images or, if it was cancelled,
with CANCELLED; any other end stops the run.
Goal: the memory at the end is at most 1.05 of that after the first hundred requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from machine import describe_machine
from PIL import Image

from tintype.service.config import ServiceConfig
from tintype.service.numerics.samplers import SAMPLERS
from tintype.service.server import run
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import Generator

BLOCK = 100
GOAL = 1.05
CANCELLED = 0.2  # share of the requests
SIZES = ((256, 256), (128, 128), (192, 128), (128, 192), (100, 80), (320, 240), (64, 64), (384, 128))
MIME_TYPES = ("image/png", "image/jpeg", "image/webp")
WORDS = ("a red circle", "a lake at sunset", "a green hill under the moon", "a house", "a blue square", "snow")


@contextmanager
def service() -> Generator[tuple[int, str]]:
    """Run the service in a child process; yield its process id and address."""
    with subprocess.Popen([sys.executable, __file__, "--child"], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield process.pid, process.stdout.readline().strip()
        finally:
            process.terminate()


def resident(pid: int) -> float:
    """Return the resident memory of a process in megabytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found is not None  # noqa: S101 - every process has it
    return int(found[1]) / 1000


def random_image(draw: random.Random, mode: str) -> bytes:
    """Return a PNG of random blocks."""
    data = BytesIO()
    small = Image.frombytes(mode, (4, 4), draw.randbytes(16 * len(mode.replace("RGB", "xxx"))))
    small.resize((160, 120), Image.Resampling.NEAREST).save(data, "PNG")
    return data.getvalue()


def random_request(draw: random.Random) -> pb.StreamImagesRequest:
    """Return a random request with few steps."""
    width, height = draw.choice(SIZES)
    generation = pb.GenerateImagesRequest(
        prompt=" and ".join(draw.sample(WORDS, draw.randint(1, 4))),
        negative_prompt=draw.choice(("", "dull")),
        count=draw.choice((1, 1, 1, 2)),
        width=width,
        height=height,
        steps=draw.randint(1, 4),
        guidance_scale=draw.choice((1.0, 3.0, 7.5)),
        sampler=draw.choice(sorted(SAMPLERS)),
        caller=draw.choice("abcd"),
    )
    generation.output.mime_type = draw.choice(MIME_TYPES)
    if draw.random() < 0.3:
        generation.image = random_image(draw, "RGB")
        generation.strength = 0.8
        generation.mask = random_image(draw, "L") if draw.random() < 0.3 else b""
    return pb.StreamImagesRequest(generation=generation, previews=pb.Previews(every=draw.choice((0, 1, 2))))


async def call_plain(stub: Any, request: pb.StreamImagesRequest, timeout: float | None) -> None:  # noqa: ASYNC109
    """Send a plain call, and cancel it after `timeout` seconds."""
    response = await asyncio.wait_for(stub.GenerateImages(request.generation), timeout)
    if len(response.images) != request.generation.count:
        raise SystemExit(f"got {len(response.images)} images for {request}")


async def call_streamed(stub: Any, request: pb.StreamImagesRequest, events: int | None) -> None:
    """Read the stream, and cancel it after `events` events."""
    stream, images, received = stub.StreamImages(request), 0, 0
    async for event in stream:
        images += event.HasField("image")
        received += 1
        if received == events:
            stream.cancel()
            raise TimeoutError
    if images != request.generation.count:
        raise SystemExit(f"got {images} images for {request}")


async def send_one(stub: Any, draw: random.Random) -> str:
    """Send one request and return its kind, or "cancelled"."""
    request, cancels = random_request(draw), draw.random() < CANCELLED
    try:
        if draw.random() < 0.5:
            await call_plain(stub, request, draw.uniform(0, 0.5) if cancels else None)
            return "plain"
        await call_streamed(stub, request, draw.randint(1, 6) if cancels else None)
    except TimeoutError:
        return "cancelled"
    return "streamed"


async def send_block(stub: Any, draw: random.Random, requests: int, workers: int) -> Counter[str]:
    """Send `requests` requests, `workers` at a time, and wait until nothing runs."""
    numbers, ends = iter(range(requests)), Counter[str]()

    async def worker() -> None:
        for _ in numbers:
            ends[await send_one(stub, draw)] += 1

    await asyncio.gather(*(worker() for _ in range(workers)))
    # A request of the lowest priority: when it has ended, all cancelled tasks have ended.
    await stub.GenerateImages(pb.GenerateImagesRequest(prompt="the end", steps=1, priority=-100))
    return ends


async def soak(args: argparse.Namespace) -> None:
    """Print the memory after each block, and its final ratio."""
    draw, ends, memory, began = random.Random(args.seed), Counter[str](), [], time.perf_counter()  # noqa: S311
    with service() as (pid, address):
        async with grpc.aio.insecure_channel(address) as channel:
            for number in range(0, args.requests, BLOCK):
                ends += await send_block(pb_grpc.ImageServiceStub(channel), draw, BLOCK, args.workers)
                memory.append(resident(pid))
                print(f"after {number + BLOCK:5}: {memory[-1]:7.1f} MB", flush=True)
    ends_text = ", ".join(f"{count} {name}" for name, count in sorted(ends.items()))
    print(f"{ends_text}; {time.perf_counter() - began:.0f} s")
    print(f"memory after {args.requests} requests: {memory[-1] / memory[0]:.3f} of that after {BLOCK}; goal: {GOAL}")
    if args.results:
        kept = json.loads(args.results.read_text("utf-8"))["runs"] if args.results.exists() else []
        runs = [run for run in kept if run["seed"] != args.seed]
        runs.append({"seed": args.seed, "memory": memory, "ends": dict(ends), "machine": describe_machine()})
        args.results.write_text(json.dumps({"block": BLOCK, "runs": runs}, indent=1) + "\n", "utf-8")


def main() -> None:
    """Run the measurement; `--child` starts the service."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=6, help="concurrent requests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="a JSON file to which the run is added")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run(ServiceConfig(grpc="127.0.0.1:0"), on_ready=lambda address: print(address, flush=True))
    else:
        asyncio.run(soak(args))


if __name__ == "__main__":
    main()
