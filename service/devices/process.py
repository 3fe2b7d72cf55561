"""The process that serves one device, and the connection to it.

The process listens on a Unix socket in a folder that only this user can open, or on loopback where gRPC has no such
sockets. It accepts one key, which it gets through a pipe. It ends when the front ends, even if the front is killed.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from base64 import b64encode
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from threading import Thread
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.keys import authorization
from tintype.v1.limits import KEEPALIVE_OPTIONS, MESSAGE_OPTIONS

from ..metrics.forwarding import fetch
from ..metrics.setting import FORWARDED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ..config import ServiceConfig
    from ..metrics.definitions import Sample
    from .inventory import DeviceSpec

LISTENING, READY, FAILED, UPDATED = "listening", "ready", "failed", "updated"
"""First words of the lines that a process writes to stdout."""

STOP_SECONDS = 5.0  # after which a process that was asked to end is killed
HEALTH_TIMEOUT, LOOKUP_TIMEOUT = 2.0, 10.0  # seconds
OPTIONS = (
    *MESSAGE_OPTIONS,
    *KEEPALIVE_OPTIONS,
    ("grpc.enable_retries", 0),  # the front repeats requests itself
    ("grpc.enable_http_proxy", 0),
    ("grpc.http2.bdp_probe", 0),  # as in the server: a slow client must not fill the front's memory
)


@dataclass(frozen=True, slots=True)
class ChildStart:
    """What a process needs to start: its device, the CPUs that it may use (empty: all), its configuration."""

    device: str
    cpus: tuple[int, ...]
    config: ServiceConfig


def child_config(config: ServiceConfig, spec: DeviceSpec, socket: Path, key: str) -> ServiceConfig:
    """Return the configuration of the process for a device; `socket` is its path, `key` the key of the front."""
    only_cpu = ("cpu",) if spec.share and not config.providers else config.providers
    return replace(
        config,
        grpc="127.0.0.1:0" if sys.platform == "win32" else f"unix:{socket}",
        devices="",
        providers=only_cpu,
        threads=config.threads or (spec.share.threads if spec.share else 0),
        api_key=key,
        companion_key="",
        connection_age=0.0,
        metrics=FORWARDED if config.metrics else "",
        tls_cert=None,
        tls_key=None,
        tls_client_ca=None,
    )


class Connection:
    """A channel to a process, its stubs, and the metadata of each call."""

    def __init__(self, address: str, key: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self.images: Any = pb_grpc.ImageServiceStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)
        self.metadata = (authorization(key),)

    async def is_serving(self) -> bool:
        """Return whether the process reports that it serves. Raises AioRpcError if it does not answer."""
        response = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    async def list_models(self) -> pb.ListModelsResponse:
        """Return the models of the process. Raises AioRpcError."""
        response: pb.ListModelsResponse = await self.images.ListModels(
            pb.ListModelsRequest(), timeout=LOOKUP_TIMEOUT, metadata=self.metadata
        )
        return response

    async def samples(self) -> list[Sample]:
        """Return the measurements of the process. Raises AioRpcError, ValueError."""
        return await fetch(self._channel, self.metadata)

    async def close(self, grace: float = 0) -> None:
        """Close the channel; calls are cancelled after `grace` seconds."""
        await self._channel.close(grace)


class DeviceProcess:
    """A running process. It has a session of its own, so that Ctrl-C in a terminal reaches only the front.

    A thread reads its lines: an event loop would start it by a fork, during which gRPC must not be in use.
    """

    def __init__(self, spec: DeviceSpec, config: ServiceConfig) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._ended = asyncio.Event()
        self._listens = False
        self._config = config
        self._updates: asyncio.Queue[str] = asyncio.Queue()  # why a new configuration is refused, or ""
        start = ChildStart(spec.name, spec.share.cpus if spec.share else (), config)
        self._process = subprocess.Popen(  # noqa: S603
            (sys.executable, "-P", "-m", f"{__package__}.child"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | dict(spec.environ),
            start_new_session=True,
        )
        self._send(start)
        Thread(target=self._read, name=f"tintype-device-{spec.name}", daemon=True).start()

    async def update(self, config: ServiceConfig) -> str:
        """Send the settings of the front's new configuration that can change at run time; the key stays.

        Return why they are refused; empty if they are applied, or if the process has ended.
        """
        new, _ = self._config.reloaded(replace(config, api_key=self._config.api_key))
        while not self._updates.empty():  # of an update that was not waited for
            self._updates.get_nowait()
        self._send(new)
        answer, ended = asyncio.create_task(self._updates.get()), asyncio.create_task(self._ended.wait())
        await asyncio.wait({answer, ended}, return_when=asyncio.FIRST_COMPLETED)
        problem = answer.result() if answer.done() else ""
        answer.cancel()
        ended.cancel()
        if not problem:
            self._config = new
        return problem

    def _send(self, message: ChildStart | ServiceConfig) -> None:
        """Send a message as one line."""
        assert self._process.stdin is not None, "a child's stdin is a pipe"  # noqa: S101
        with suppress(BrokenPipeError):  # it has ended already
            self._process.stdin.write(b64encode(pickle.dumps(message)) + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def _read(self) -> None:
        """Pass each line to the event loop, then the end; on a thread."""
        assert self._process.stdout is not None, "a child's stdout is a pipe"  # noqa: S101
        with suppress(RuntimeError):  # the event loop is closed
            for line in self._process.stdout:
                self._loop.call_soon_threadsafe(self._lines.put_nowait, line.decode(errors="replace").strip())
            self._process.wait()
            self._loop.call_soon_threadsafe(self._lines.put_nowait, "")
            self._loop.call_soon_threadsafe(self._ended.set)

    async def announcements(self) -> AsyncIterator[tuple[str, str]]:
        """Yield word and text of each line that the process announces, until it ends."""
        while line := await self._lines.get():
            word, _, text = line.partition(" ")
            self._listens = self._listens or word == LISTENING
            if word == UPDATED:
                self._updates.put_nowait(text)
            else:
                yield word, text

    async def end(self) -> str:
        """Wait for the end of the process, and return how it ended."""
        await self._ended.wait()
        code = self._process.returncode
        if code >= 0:
            return f"its process ended with exit code {code}"
        with suppress(ValueError):
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process was ended by signal {-code}"

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    async def stop(self) -> None:
        """End stdin, so that the process ends; kill it after STOP_SECONDS, or at once if it does not listen yet."""
        assert self._process.stdin is not None, "a child's stdin is a pipe"  # noqa: S101
        with suppress(OSError):
            self._process.stdin.close()
        if self._listens:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), STOP_SECONDS)
        self.kill()
        await self._ended.wait()
        if self._process.stdout:
            self._process.stdout.close()


@asynccontextmanager
async def device_process(spec: DeviceSpec, config: ServiceConfig) -> AsyncIterator[DeviceProcess]:
    """Run the process of a device while inside the block, with a configuration from `child_config`."""
    running = DeviceProcess(spec, config)
    try:
        yield running
    finally:
        await asyncio.shield(running.stop())
