"""Measure the service times of a profile with the built-in model."""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tintype.service.engine.batch_width import WIDTHS
from tintype.service.models import Repository
from tintype.service.models.model import Prompt

from .processes import cluster, send
from .profiles import Profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tintype.service.models import Model

SIZE = 256
REQUESTS = 100  # through the gateway


def measure(rounds: int = 15) -> Profile:
    """Return the service times of one thread on this machine.

    Times of the model are the least of `rounds`, as batch widths are judged: other programs slow down some calls.
    """
    with Repository([], threads=1) as repository:
        model = repository.wait(timeout=600)
        calls = {rows: _least(_denoising(model, rows), rounds) for rows in WIDTHS}
        encode, decode = _least(_encoding(model), rounds), _least(_decoding(model), rounds)
    loads = [_load_seconds() for _ in range(5)]
    return Profile(
        source=f"{_processor()}, {datetime.now(UTC):%Y-%m-%d}",
        calls=calls,
        encode=encode,
        decode=decode,
        load=statistics.median(loads),
        gateway=_gateway_seconds(),
        notes=(
            f"Built-in model, {SIZE}x{SIZE}, one thread, other programs on the machine. Calls, encode and decode: the "
            f"least of {rounds}. Load: median of {len(loads)}, file in the page cache. Gateway: processor seconds of "
            f"its process for one of {REQUESTS} requests with the image in base64, gRPC included."
        ),
    )


def _least(run: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return round(min(times), 6)


def _denoising(model: Model, rows: int) -> Callable[[], object]:
    conditioning = model.encode([Prompt("a lake")])[0]
    latents = _latents(model, rows)
    timesteps = np.full(rows, 500, np.float32)
    return lambda: model.denoise(latents, timesteps, [conditioning] * rows)


def _encoding(model: Model) -> Callable[[], object]:
    prompts = iter(range(10**6))  # new ones each time: encoded prompts are kept
    return lambda: model.encode([Prompt(f"a lake {next(prompts)}"), Prompt("", negative=True)])


def _decoding(model: Model) -> Callable[[], object]:
    latents = _latents(model, 1)
    return lambda: model.decode(latents)


def _latents(model: Model, rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal((rows, *model.spec.latent_shape(SIZE, SIZE)), np.float32)


def _load_seconds() -> float:
    began = time.perf_counter()
    with Repository([], threads=1) as repository:
        repository.wait(timeout=600)
        return round(time.perf_counter() - began, 4)


def _gateway_seconds() -> float:
    """Return the processor seconds of the gateway's process per request."""

    async def send_all(address: str, count: int) -> None:
        for _ in range(count):
            await send(address, "a lake", steps=1, size=SIZE)

    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), 1) as (_, gateway):
        asyncio.run(send_all(gateway.address, 10))
        before = gateway.cpu_seconds()
        asyncio.run(send_all(gateway.address, REQUESTS))
        return round((gateway.cpu_seconds() - before) / REQUESTS, 6)


def _processor() -> str:
    """Return the name of the processor and the number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
