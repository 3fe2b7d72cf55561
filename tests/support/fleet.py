"""Services and gateways as separate processes, and clients that behave as behind a load balancer."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

START_TIMEOUT = 120  # seconds, on a busy machine
BODY = {"prompt": "a lake", "size": "64x64", "steps": 6, "response_format": "b64_json"}


class Server:
    """One `tintype` command at a fixed address; it can be ended and started again."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder, self._arguments = folder, arguments
        self.start()

    def start(self) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}
        command = [sys.executable, "-P", "-m", "tintype.cli", *self._arguments, "--data", str(self._folder)]
        with (self._folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self._folder, env=environ | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log
            )

    async def end(self, number: signal.Signals) -> None:
        """Send a signal, and wait for the end of the process."""
        self.process.send_signal(number)
        await asyncio.to_thread(self.process.wait, START_TIMEOUT)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()


class Fleet:
    """Two services, and two gateways that know both. Batches have one image, so equal seeds give equal files."""

    def __init__(self, folder: Path) -> None:
        ports = _free_ports(4)
        addresses = [f"127.0.0.1:{port}" for port in ports]
        for name in ("s0", "s1", "gateways"):
            (folder / name).mkdir()
        self.services = [
            Server(folder / f"s{number}", "serve", "--grpc", address, "--threads", "1", "--max-batch", "1")
            for number, address in enumerate(addresses[:2])
        ]
        target = ",".join(addresses[:2])
        self.urls = [f"http://{address}" for address in addresses[2:]]
        self.gateways = [
            Server(folder / "gateways", "gateway", "--rest", address, "--grpc", target) for address in addresses[2:]
        ]

    async def ready(self, client: httpx.AsyncClient) -> None:
        """Wait until both gateways see both services healthy."""
        async with asyncio.timeout(START_TIMEOUT):
            for url in self.urls:
                while await _healthy_replicas(client, url) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)


class Load:
    """Clients behind a load balancer: it uses gateways that are ready, and another one if one can't be connected to."""

    def __init__(self, urls: list[str], client: httpx.AsyncClient) -> None:
        self._urls, self.client = urls, client
        self._ready = list(urls)
        self._count = 0
        self.statuses: list[int] = []
        self.seeds: dict[int, set[str]] = {}

    async def check_repeatedly(self) -> None:
        """Ask each gateway whether it is ready, as a load balancer does."""
        while True:
            ready = [url for url in self._urls if await _status(self.client, url) == 200]
            self._ready = ready or self._urls
            await asyncio.sleep(0.2)

    async def request_repeatedly(self) -> None:
        """Send one request after the other, with one of three seeds."""
        while True:
            self._count += 1
            seed = self._count % 3
            response = await self._post(self._ready[self._count % len(self._ready)], BODY | {"seed": seed})
            self.statuses.append(response.status_code)
            self.seeds.setdefault(seed, set()).add(response.text.partition('"b64_json":"')[2].partition('"')[0])
            await asyncio.sleep(0.1)

    async def wait_for_more(self, count: int) -> None:
        """Wait until `count` more requests are answered."""
        wanted = len(self.statuses) + count
        async with asyncio.timeout(START_TIMEOUT):
            while len(self.statuses) < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def _post(self, url: str, body: dict[str, Any]) -> httpx.Response:
        for each in (url, *(other for other in self._urls if other != url)):
            with suppress(httpx.ConnectError):
                return await self.client.post(f"{each}/v1/images/generations", json=body)
        raise AssertionError("no gateway accepts connections")


@contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """Start the processes, and kill them at the end."""
    running = Fleet(folder)
    try:
        yield running
    finally:
        for server in (*running.services, *running.gateways):
            server.process.kill()
            server.process.wait()


@asynccontextmanager
async def load(running: Fleet, clients: int) -> AsyncIterator[Load]:
    """Put load on the gateways while inside the block."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=START_TIMEOUT) as client:
        await running.ready(client)
        made = Load(running.urls, client)
        tasks = [asyncio.create_task(made.request_repeatedly()) for _ in range(clients)]
        tasks.append(asyncio.create_task(made.check_repeatedly()))
        try:
            yield made
            assert not any(task.done() for task in tasks), tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _healthy_replicas(client: httpx.AsyncClient, url: str) -> int:
    with suppress(httpx.TransportError):
        lines = (await client.get(f"{url}/metrics")).text.splitlines()
        return sum(line.startswith("tintype_gateway_replica_healthy{") and line.endswith(" 1.0") for line in lines)
    return 0


async def _status(client: httpx.AsyncClient, url: str) -> int:
    with suppress(httpx.TransportError):
        return (await client.get(f"{url}/readyz")).status_code
    return 0


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
