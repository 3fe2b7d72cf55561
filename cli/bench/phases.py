"""The phases of a bench with one number of steps: one caller, several callers, and a gateway in turns.

Each has an end by which it starts no further image. Images before a measurement are not counted: they warm up.
"""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import TYPE_CHECKING

from .figures import Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .clients import Client
    from .figures import StepFigures

LEAST, MOST = 3, 40  # images of one caller; fewer only if the time ends
ROUNDS = 16  # images of each of several callers, at most
MIN_ROUNDS = 2
PAIRS = 25  # images through the gateway, at most

seeds: Iterator[int] = count(1)


async def warm_up(client: Client, steps: int) -> None:
    """Make an image that is not counted."""
    await client.image(steps, next(seeds))


async def one_caller(
    client: Client, found: StepFigures, until: float, cpu: Callable[[], float | None] = lambda: None
) -> None:
    """Measure images one after the other; `cpu` returns the CPU seconds of the service so far."""
    before = cpu()
    while len(found.image.values) < LEAST or (time.perf_counter() < until and len(found.image.values) < MOST):
        sample = await client.image(found.steps, next(seeds))
        found.image.values.append(sample.seconds)
        if sample.denoise:
            found.step.values.append(sample.denoise / found.steps)
            found.outside.values.append(sample.outside)
        found.rates[1] = Rate(len(found.image.values), sum(found.image.values))
        after = cpu()
        if before is not None and after is not None:  # a single image takes few ticks of the clock
            found.cpu.values = [(after - before) / len(found.image.values)]


async def callers(client: Client, found: StepFigures, number: int, until: float) -> None:
    """Measure images of several callers, each of which requests the next image when it has one.

    The rate counts the time from the first request to the last image, so that it also has the end, when not all callers
    are busy. A first round is not counted: in it the service learns how many images it should batch.
    """
    left = until - time.perf_counter()
    began = time.perf_counter()
    await asyncio.gather(*(warm_up(client, found.steps) for _ in range(number)))
    one_round = time.perf_counter() - began
    rounds = max(MIN_ROUNDS, min(ROUNDS, int((left - one_round) / one_round)))

    async def caller() -> None:
        for _ in range(rounds):
            await client.image(found.steps, next(seeds))

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(number)))
    found.rates[number] = Rate(rounds * number, time.perf_counter() - began)


async def gateway_in_turns(service: Client, gateway: Client, found: StepFigures, until: float) -> None:
    """Measure the same image with and without the gateway, in turns; each is first every other time."""
    for _ in range(2):
        await warm_up(gateway, found.steps)
    values = found.through_gateway.values
    while len(values) < LEAST or (time.perf_counter() < until and len(values) < PAIRS):
        seed, seconds = next(seeds), {}
        for client in (service, gateway) if len(values) % 2 else (gateway, service):
            seconds[client is gateway] = (await client.image(found.steps, seed)).seconds
        values.append(seconds[True] - seconds[False])
