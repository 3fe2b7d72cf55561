"""The address at which Prometheus fetches the metrics: GET /metrics over HTTP/1, one response for each connection.

A key is required as for the calls of the service. A request and its response have a few seconds; beyond
MAX_CONNECTIONS the oldest connection is closed, so that slow clients don't keep Prometheus out.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from tintype.v1.keys import request_key

from ..rpc.listen import ServeError
from .setting import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from tintype.v1.keys import Keys

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds for one connection, the collection of the metrics included
CLOSE_TIME = 1.0  # seconds that connections get to close at the end
MAX_HEAD = 16 * 1024  # bytes of a request
MAX_CONNECTIONS = 16
PATH = "/metrics"
PLAIN = "text/plain; charset=utf-8"


@asynccontextmanager
async def serve_metrics(address: str, keys: Keys, text: Callable[[], Awaitable[bytes]]) -> AsyncIterator[str]:
    """Serve the result of `text` while inside the block, and yield the URL; for port 0 the system chooses the port.

    Raises ServeError if the address is in use, or is not one of this machine.
    """
    host, port = parse_address(address)
    endpoint = _Endpoint(keys, text)
    try:
        server = await asyncio.start_server(endpoint.answer, host, port, limit=MAX_HEAD)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror  # below 0: no such name
        problem = f"cannot listen on {address}: {why}; choose another address with --metrics"
        raise ServeError(problem) from error
    url = _url(host, server.sockets[0].getsockname()[1])
    log.info("serving metrics on %s", url)
    try:
        yield url
    finally:
        server.close()
        endpoint.close()
        with suppress(TimeoutError):  # from Python 3.12 on it waits for connections, also for those not yet served
            await asyncio.wait_for(server.wait_closed(), CLOSE_TIME)


class _Endpoint:
    """Answers connections."""

    def __init__(self, keys: Keys, text: Callable[[], Awaitable[bytes]]) -> None:
        self._keys = keys
        self._text = text
        self._running: dict[asyncio.Task[None], None] = {}  # the oldest first

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection, and close it."""
        task = asyncio.current_task()
        assert task is not None, "a server's callback runs in a task"  # noqa: S101
        if len(self._running) >= MAX_CONNECTIONS:
            oldest = next(iter(self._running))
            del self._running[oldest]
            oldest.cancel()
        self._running[task] = None
        try:
            with suppress(OSError, asyncio.CancelledError, TimeoutError):
                async with asyncio.timeout(TIMEOUT):
                    writer.write(await self._response(reader))
                    writer.close()
                    await writer.wait_closed()
        finally:
            self._running.pop(task, None)
            writer.transport.abort()  # a client that does not read its response keeps no memory

    def close(self) -> None:
        """End the running connections."""
        for task in self._running:
            task.cancel()

    async def _response(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, headers = _parse(head)
        except (asyncio.LimitOverrunError, asyncio.IncompleteReadError, ValueError):
            return _message(HTTPStatus.BAD_REQUEST, b"the request must be GET /metrics over HTTP/1\n")
        if path.partition("?")[0] != PATH:
            return _message(HTTPStatus.NOT_FOUND, b"the metrics are at /metrics\n")
        if method not in ("GET", "HEAD"):
            return _message(HTTPStatus.METHOD_NOT_ALLOWED, b"the method must be GET\n", "allow: GET, HEAD")
        await self._keys.reload()
        if self._keys.required and self._keys.find(request_key(headers)) is None:
            challenge = 'www-authenticate: Bearer realm="tintype"'
            return _message(HTTPStatus.UNAUTHORIZED, b"send a key as 'authorization: Bearer KEY'\n", challenge)
        try:
            body = await self._text()
        except Exception:
            log.exception("the metrics could not be collected")
            return _message(HTTPStatus.INTERNAL_SERVER_ERROR, b"the metrics could not be collected\n")
        return _message(HTTPStatus.OK, body if method == "GET" else b"", content_type=_prometheus_type())


def _parse(head: bytes) -> tuple[str, str, Mapping[str, str]]:
    """Return method, path and headers of a request. Raises ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, protocol = first.split(" ")
    if not protocol.startswith("HTTP/1."):
        raise ValueError(protocol)
    pairs = (line.partition(":") for line in lines if line)
    return method, path, {name.strip().lower(): value.strip() for name, _, value in pairs}


def _message(status: HTTPStatus, body: bytes, *headers: str, content_type: str = PLAIN) -> bytes:
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
        "connection: close",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def _prometheus_type() -> str:
    from prometheus_client.exposition import CONTENT_TYPE_LATEST  # noqa: PLC0415 - only needed with metrics

    return CONTENT_TYPE_LATEST


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}{PATH}" if ":" in host else f"http://{host}:{port}{PATH}"
