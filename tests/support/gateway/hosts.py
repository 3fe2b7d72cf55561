"""A server for images by URL, which can misbehave."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.gateway.fakes import PNG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n"


def moved(where: str, status: int = 302) -> bytes:
    """Return a redirect to `where`."""
    return f"HTTP/1.1 {status} F\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()


ANSWERS = {
    "/ok": HEAD + b"Content-Length: %d\r\n\r\n" % len(PNG) + PNG,
    "/unsized": HEAD + b"\r\n" + PNG,
    "/moved": moved("/ok"),
    "/moved3": moved("/moved2", 308),
    "/moved2": moved("/moved", 301),
    "/moved4": moved("/moved3", 307),
    "/loop": moved("/loop"),
    "/metadata": moved("http://169.254.169.254/latest"),
    "/file": moved("file:///etc/passwd"),
    "/nowhere": b"HTTP/1.1 302 F\r\nContent-Length: 0\r\n\r\n",
    "/html": HEAD + b"\r\n<html>what is said inside",
    "/short": HEAD + b"\r\n\x89PNG",
    "/large": HEAD + b"\r\n" + PNG + b"x" * 5000,
    "/declared": HEAD + b"Content-Length: 5000\r\n\r\n" + PNG,
    "/gzip": HEAD + b"Content-Encoding: gzip\r\n\r\n" + PNG,
    "/missing": b"HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n",
    "/cut": HEAD + b"Content-Length: 500\r\n\r\n" + PNG,
    "/garbage": b"220 mail.example ESMTP\r\n",
}


class Host:
    """A server that answers by ANSWERS and records its requests."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.port = 0
        self.gone = False

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(request)
            path = request.split()[1].decode()
            if path == "/drip":
                await self.drip(writer)
            writer.write(ANSWERS[path])
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            self.gone = True
        finally:
            writer.close()

    async def drip(self, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"\r\n" + PNG)
        for _ in range(1000):
            await asyncio.sleep(0.01)
            writer.write(b"x")
            await writer.drain()


@asynccontextmanager
async def serving() -> AsyncIterator[Host]:
    """Run a host on a free local port."""
    host = Host()
    server = await asyncio.start_server(host.answer, "127.0.0.1", 0)
    async with server:
        host.port = server.sockets[0].getsockname()[1]
        yield host
