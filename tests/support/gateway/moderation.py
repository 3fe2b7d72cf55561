"""A moderation service on a real socket, whose verdicts tests choose."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


def flag(*categories: str) -> dict[str, Any]:
    """Return an answer that flags its input."""
    named = {"harassment": False, **dict.fromkeys(categories, True)}
    return {"id": "modr-1", "model": "m", "results": [{"flagged": True, "categories": named}]}


ACCEPTED: dict[str, Any] = {"id": "modr-1", "model": "m", "results": [{"flagged": False, "categories": {}}]}


class FakeModeration:
    """Answers each input by `judge`: an object for JSON, bytes for a raw body, a number for a status, None for never.

    `inputs` are those of all requests, `requests` their heads and bodies.
    """

    def __init__(self) -> None:
        self.judge: Callable[[Any], dict[str, Any] | bytes | int | None] = lambda _: ACCEPTED
        self.inputs: list[Any] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.url = ""
        self.closes = 0  # requests whose connection is closed without an answer

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(next(line.split(":")[1] for line in head.lower().splitlines() if "content-length" in line))
            body = json.loads(await reader.readexactly(length))
            self.requests.append((head, body))
            self.inputs.append(body["input"])
            if self.closes:
                self.closes -= 1
                return
            verdict = self.judge(body["input"])
            if verdict is None:
                await reader.read()  # until the gateway gives up
                return
            status = verdict if isinstance(verdict, int) else 200
            content = verdict if isinstance(verdict, bytes) else json.dumps(verdict).encode()
            start = f"HTTP/1.1 {status} Any\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
            writer.write(start.encode() + content)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running_moderation() -> AsyncIterator[FakeModeration]:
    """Serve on a free port inside the block."""
    fake = FakeModeration()
    server = await asyncio.start_server(fake.answer, "127.0.0.1", 0)
    async with server:
        fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/moderations"
        yield fake
