"""A request for images that comes from the gateway itself: the handlers answer it as if a client had sent it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tintype.v1.rates import COUNTED, header_names

from ..metrics import DISCONNECTED

if TYPE_CHECKING:
    from litestar.types import ASGIApp

# Headers that each response gets anew: of the connection, of the request's own id and time, of rates.
_NOT_KEPT = {
    *("content-length", "transfer-encoding", "connection", "date", "x-request-id", "openai-processing-ms"),
    *("retry-after", "retry-after-ms"),
    *(name for unit in COUNTED for name in header_names(unit)),
}


@dataclass(slots=True)
class Answer:
    """A collected response; one that is incomplete has the status of a client that disconnected."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)


async def send_request(app: ASGIApp, scope: dict[str, Any], body: bytes, end: asyncio.Event) -> Answer:
    """Return the response of `app` to a request; when `end` is set, `app` sees its client disconnect."""
    answer, bodies, is_complete = Answer(), [body], asyncio.Event()

    async def receive() -> Any:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        await _first_of(end, is_complete)  # a handler that streams waits until its client has gone
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            named = {str(name, "latin-1").lower(): str(value, "latin-1") for name, value in message["headers"]}
            answer.headers = {name: value for name, value in named.items() if name not in _NOT_KEPT}
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")
            if not message.get("more_body", False):
                is_complete.set()

    await app(scope, receive, send)  # type: ignore[arg-type] # Litestar's types of scopes and messages
    if not is_complete.is_set():
        answer.status = DISCONNECTED
    return answer


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
