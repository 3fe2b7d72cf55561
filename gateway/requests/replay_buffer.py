"""A stream that is made once and told to several: to its client as it comes, to repeats of the request from the start.

- It goes on to its end, whoever listens.
- Repeats get the finished pictures; what is of the moment, as previews are, is not kept.
- Who reads more slowly than events come misses some of the moment, never a picture.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from ..http.receiving import keeping

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_BEHIND = 4  # events that wait for a reader before those of the moment are left out


class Kind(Enum):
    """What an event is to those who come later."""

    PICTURE = "finished"
    MOMENT = "of the way there"
    FAILURE = "the end of it"


class Told(NamedTuple):
    """One event as bytes."""

    data: bytes
    kind: Kind = Kind.MOMENT


class BrokenOff(Exception):
    """A recording has come to no good end."""


class Recording:
    """What `events` yield. `rest` is the making of it: it raises BrokenOff where one of them is a failure."""

    def __init__(self, events: AsyncGenerator[Told]) -> None:
        self._kept: list[bytes] = []
        self._first = self._from_the_start()
        self._heard = False  # whether the first listens
        self._again: set[asyncio.Queue[bytes | None]] = set()
        self.rest = asyncio.create_task(self._record(events))

    def __len__(self) -> int:
        """Bytes of what is kept."""
        return sum(map(len, self._kept))

    async def first(self) -> AsyncGenerator[bytes]:
        """Yield everything, once."""
        self._heard = True
        try:
            while (data := await self._first.get()) is not None:
                yield data
        finally:
            self._heard = False
            self._first = self._from_the_start()

    async def again(self) -> AsyncGenerator[bytes]:
        """Yield the pictures, from the first on, and the failure, each as soon as it is there."""
        queue = self._from_the_start()
        if self.rest.done():
            queue.put_nowait(None)
        self._again.add(queue)
        try:
            while (data := await queue.get()) is not None:
                yield data
        finally:
            self._again.discard(queue)

    def _from_the_start(self) -> asyncio.Queue[bytes | None]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for data in self._kept:
            queue.put_nowait(data)
        return queue

    async def _record(self, events: AsyncGenerator[Told]) -> None:
        broken = False
        try:
            with keeping():
                async with aclosing(events):
                    async for told in events:
                        self._tell(told)
                        broken |= told.kind is Kind.FAILURE
        finally:
            if not self._heard:  # a client that left keeps nothing in memory but the pictures
                self._first = self._from_the_start()
            for queue in (self._first, *self._again):
                queue.put_nowait(None)
        if broken:
            raise BrokenOff

    def _tell(self, told: Told) -> None:
        if told.kind is Kind.MOMENT:
            if self._first.qsize() < _BEHIND:
                self._first.put_nowait(told.data)
            return
        self._kept.append(told.data)
        for queue in (self._first, *self._again):
            queue.put_nowait(told.data)
