"""How long a request still occupies the device after its client has gone."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

from .clients import connect, quantiles

if TYPE_CHECKING:
    from .clients import Rest

LONG = 150  # steps of a request that is cancelled: the most that a request may ask for
PATIENCE = 60  # seconds until a request runs, or has left
RUNNING = re.compile(rb'^tintype_service_running_tasks\{device="0"\} (\d+)', re.MULTILINE)
PAUSE = 0.002  # seconds between two looks at the metrics


async def measure_cancelling(rest: Rest, metrics: str, rounds: int) -> dict[str, Any]:
    """Close the connection of a long request, and return when the service has dropped it.

    `gone` are seconds until no request runs, by the service's metrics, and `beside` the seconds of one look at them.
    `next` are the seconds of a short request that is sent at that moment, and `idle` those of one on an idle service.
    """
    found: dict[str, list[float]] = {"gone": [], "beside": [], "next": [], "idle": []}
    await rest.send(0)
    for seed in range(rounds):
        found["idle"].append(await _timed(rest.send(seed)))
        found["beside"].append(await _timed(_running(metrics)))
        await _leave(rest, metrics, seed)
        began = time.perf_counter()
        await _wait_until(metrics, running=False)
        found["gone"].append(time.perf_counter() - began)
        await _leave(rest, metrics, seed)
        found["next"].append(await _timed(rest.send(seed)))
        await _wait_until(metrics, running=False)
    return {name: quantiles(values) for name, values in found.items()}


async def _leave(rest: Rest, metrics: str, seed: int) -> None:
    """Send a long request, wait until it runs, and close its connection."""
    _, writer = await rest.start(seed, LONG)
    await _wait_until(metrics, running=True)
    writer.transport.abort()


async def _wait_until(metrics: str, *, running: bool) -> None:
    until = time.perf_counter() + PATIENCE
    while bool(await _running(metrics)) is not running:
        if time.perf_counter() > until:
            raise RuntimeError(f"expected a request to {'run' if running else 'leave'} within {PATIENCE} s")
        await asyncio.sleep(PAUSE)


async def _timed(waited: Any) -> float:
    began = time.perf_counter()
    await waited
    return time.perf_counter() - began


async def _running(address: str) -> int:
    """Return the number of running requests."""
    reader, writer = await connect(address)
    writer.write(f"GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n".encode())
    text = await reader.read(-1)
    writer.close()
    found = RUNNING.search(text)
    return int(found[1]) if found else 0
