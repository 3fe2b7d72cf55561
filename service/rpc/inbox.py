"""Receiving the messages of calls, a few at a time, since each may have 64 MiB.

- At most `MAX_RECEIVING` messages arrive at once. Other calls wait, and gRPC's flow control slows their clients down;
  beyond `MAX_WAITING` waiting calls, a call is rejected.
- A message must arrive within `MAX_SECONDS`.
- While calls wait, the call that has been receiving longest loses its place after `MIN_SECONDS`, so that clients that
  start a message and stop can't block others.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from ..errors import InvalidField, QueueFull

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

MAX_RECEIVING, MAX_WAITING = 8, 256
MIN_SECONDS, MAX_SECONDS = 10.0, 60.0


class Inbox:
    """The places of one server for arriving messages. Belongs to one event loop."""

    def __init__(self, *, most: int = MAX_RECEIVING, least: float = MIN_SECONDS, longest: float = MAX_SECONDS) -> None:
        self._most, self._least, self._longest = most, least, longest
        self._places: dict[asyncio.Timeout, float] = {}  # in order of arrival, with the time of it
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._freed = asyncio.Event()

    @property
    def receiving(self) -> int:
        """Number of messages that are arriving."""
        return len(self._places)

    async def message(self, messages: AsyncIterator[bytes]) -> bytes:
        """Return the one message of a call.

        Raises:
            QueueFull: it took too long to arrive, or too many calls wait.
            InvalidField: the client sent no message.
        """
        try:
            async with self._place(), aclosing(_as_generator(messages)) as received:
                async for data in received:
                    return data
        except TimeoutError:
            raise QueueFull("the message did not arrive in time: send it again", retry_after=1.0) from None
        raise InvalidField("request", "must be one message of the contract; got none")

    @asynccontextmanager
    async def _place(self) -> AsyncGenerator[None]:
        """Hold a place, for at most `longest` seconds. Raises TimeoutError."""
        place = await self._take_place()
        try:
            async with place:
                yield
        finally:
            del self._places[place]
            self._freed.set()

    async def _take_place(self) -> asyncio.Timeout:
        """Return a place, to be entered at once. Raises QueueFull."""
        if self._waiting >= MAX_WAITING:
            raise QueueFull("too many messages arrive at once", retry_after=1.0)
        self._waiting += 1
        try:
            async with self._turn:
                while len(self._places) >= self._most:
                    await self._make_room()
                place = asyncio.timeout(self._longest)
                self._places[place] = asyncio.get_running_loop().time()
                return place
        finally:
            self._waiting -= 1

    async def _make_room(self) -> None:
        """Wait until a place is free; the oldest one is taken away after `least` seconds."""
        oldest, since = next(iter(self._places.items()))
        now = asyncio.get_running_loop().time()
        self._freed.clear()
        try:
            async with asyncio.timeout(max(0.0, since + self._least - now)):
                await self._freed.wait()
        except TimeoutError:
            if oldest in self._places and not oldest.expired():
                oldest.reschedule(now)
            if oldest in self._places:
                await self._freed.wait()


async def _as_generator(messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    async for message in messages:
        yield message
