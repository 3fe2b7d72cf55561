"""A server of images by URL, which can also answer wrongly."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.gateway.fakes import PNG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n"


def redirect_to(url: str, status: int = 302) -> bytes:
    """Return a redirect to `url`."""
    return f"HTTP/1.1 {status} F\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()


RESPONSES = {
    "/ok": HEAD + b"Content-Length: %d\r\n\r\n" % len(PNG) + PNG,
    "/unsized": HEAD + b"\r\n" + PNG,
    "/moved": redirect_to("/ok"),
    "/moved3": redirect_to("/moved2", 308),
    "/moved2": redirect_to("/moved", 301),
    "/moved4": redirect_to("/moved3", 307),
    "/loop": redirect_to("/loop"),
    "/metadata": redirect_to("http://169.254.169.254/latest"),
    "/file": redirect_to("file:///etc/passwd"),
    "/nowhere": b"HTTP/1.1 302 F\r\nContent-Length: 0\r\n\r\n",
    "/html": HEAD + b"\r\n<html>secret text",
    "/short": HEAD + b"\r\n\x89PNG",
    "/large": HEAD + b"\r\n" + PNG + b"x" * 5000,
    "/declared": HEAD + b"Content-Length: 5000\r\n\r\n" + PNG,
    "/gzip": HEAD + b"Content-Encoding: gzip\r\n\r\n" + PNG,
    "/missing": b"HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n",
    "/cut": HEAD + b"Content-Length: 500\r\n\r\n" + PNG,
    "/garbage": b"220 mail.example ESMTP\r\n",
}


class ImageHost:
    """A server that answers with RESPONSES and records its requests."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.port = 0
        self.started = asyncio.Event()
        self.disconnected = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request)
            self.started.set()
            path = request.split()[1].decode()
            if path == "/drip":
                await self.send_slowly(writer)
            writer.write(RESPONSES[path])
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            self.disconnected.set()
        finally:
            writer.close()

    async def send_slowly(self, writer: asyncio.StreamWriter) -> None:
        """Send an image, then single bytes until the client disconnects."""
        writer.write(HEAD + b"\r\n" + PNG)
        while True:
            await asyncio.sleep(0.01)
            writer.write(b"x")
            await writer.drain()


@asynccontextmanager
async def running_host() -> AsyncIterator[ImageHost]:
    """Run a host on a free local port."""
    host = ImageHost()
    server = await asyncio.start_server(host.answer, "127.0.0.1", 0)
    async with server:
        host.port = server.sockets[0].getsockname()[1]
        yield host
