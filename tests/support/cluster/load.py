"""Clients of a gateway that count what became of each of their requests."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = {"prompt": "a lake", "n": 1, "size": "256x256", "steps": 30, "response_format": "b64_json"}
TIMEOUT = 120.0  # seconds for one request


@dataclass
class Load:
    """The answers that clients got: their number by status, and the bodies of errors."""

    statuses: Counter[int | str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """The number of requests."""
        return sum(self.statuses.values())

    def __str__(self) -> str:
        return f"{self.statuses[200]} of {self.total} are 200; {dict(self.statuses)} {self.errors[:3]}"


async def run(base: str, clients: int, meanwhile: Callable[[], Any], after: float, least: float = 0.0) -> Load:
    """Send requests from `clients` clients until `meanwhile` has returned, and `after` seconds longer.

    `meanwhile` is called in a thread once `least` requests are answered.
    """
    load, stop = Load(), asyncio.Event()
    async with httpx.AsyncClient(base_url=base, timeout=TIMEOUT) as http:
        tasks = [asyncio.create_task(_client(http, load, stop, number)) for number in range(clients)]
        while load.total < least:  # noqa: ASYNC110  # a test may poll
            await asyncio.sleep(0.1)
        await asyncio.to_thread(meanwhile)
        await asyncio.sleep(after)
        stop.set()
        await asyncio.gather(*tasks)
    return load


async def _client(http: httpx.AsyncClient, load: Load, stop: asyncio.Event, number: int) -> None:
    seed = 0
    while not stop.is_set():
        seed += 1
        began = time.monotonic()
        try:
            response = await http.post("/v1/images/generations", json=BODY | {"seed": 1000 * number + seed})
        except httpx.HTTPError as error:
            load.statuses[type(error).__name__] += 1
            load.errors.append(f"{type(error).__name__} after {time.monotonic() - began:.1f} s")
            continue
        load.statuses[response.status_code] += 1
        if response.status_code == httpx.codes.OK:
            assert base64.b64decode(response.json()["data"][0]["b64_json"])
        else:
            load.errors.append(f"{response.status_code} {response.text[:300]}")
            await asyncio.sleep(0.2)
