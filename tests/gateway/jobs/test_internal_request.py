"""Requests that the gateway sends to itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from litestar import Litestar, Request, Response, post
from litestar.response import Stream

from tintype.gateway.jobs.internal_request import Answer, send_request
from tintype.gateway.jobs.running_job import Progress, RunningJob, StoredRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


async def pieces(end: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for number in range(3):
        yield b"%d" % number
        if end:
            end.set()
            await asyncio.sleep(60)


async def send(handler: Any, end: asyncio.Event) -> Answer:
    """Send a request to a handler of Litestar's."""
    stored = StoredRequest(
        path="/x", query="", scheme="http", root_path="", client="", server=None, request_id="r", headers={}
    )
    app: Any = Litestar([handler], openapi_config=None, logging_config=None)
    scope = stored.scope(RunningJob("job_1", "", "", 7, 1, Progress(1)))
    async with asyncio.timeout(30):
        return await send_request(app, scope, b"body", end)


async def test_response_is_collected() -> None:
    """Status, body and headers are those of the handler, which reads the body; headers of the moment are left out."""

    @post("/x", status_code=201)
    async def echo(request: Request[Any, Any, Any]) -> Response[bytes]:
        return Response(await request.body(), media_type="a/b", headers={"x-own": "1", "retry-after": "2"})

    answer = await send(echo, asyncio.Event())
    assert (answer.status, bytes(answer.body)) == (201, b"body")
    assert answer.headers == {"content-type": "a/b", "x-own": "1"}


async def test_a_streamed_response_ends() -> None:
    """A response in pieces is complete with its last piece, though no client disconnects."""

    @post("/x", status_code=200)
    async def stream() -> Stream:
        return Stream(pieces())

    answer = await send(stream, asyncio.Event())
    assert (answer.status, bytes(answer.body)) == (200, b"012")


async def test_an_ended_request_is_incomplete() -> None:
    """A response that is cut off counts as one whose client disconnected."""
    end = asyncio.Event()

    @post("/x", status_code=200)
    async def stream() -> Stream:
        return Stream(pieces(end))

    assert (await send(stream, end)).status == 499
