"""Work that runs ahead of its reader, with results in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 16  # items, finished or not, that wait for a slow reader


async def run_ahead(
    source: AsyncIterator[T], work: Callable[[T], asyncio.Future[R] | None]
) -> AsyncGenerator[tuple[T, R | None]]:
    """Yield every item of `source` with the result of `work(item)`, in the order of `source`.

    Work starts as soon as its item arrives, however long the work of earlier items takes. Closing the generator cancels
    all running work. An exception of `source` or of work is raised in its place of the order.
    """
    started: asyncio.Queue[tuple[T, asyncio.Future[R] | None] | Exception | None] = asyncio.Queue(AHEAD)

    async def start() -> None:
        try:
            async for item in source:
                await started.put((item, work(item)))
        except Exception as error:  # noqa: BLE001  # the reader gets any exception
            await started.put(error)
        else:
            await started.put(None)

    starter = asyncio.create_task(start())
    try:
        while (entry := await started.get()) is not None:
            if isinstance(entry, Exception):
                raise entry
            item, result = entry
            yield item, None if result is None else await result
    finally:
        starter.cancel()
        await asyncio.gather(starter, return_exceptions=True)
        while not started.empty():
            _cancel(started.get_nowait())


def _cancel(entry: tuple[object, asyncio.Future[R] | None] | Exception | None) -> None:
    if isinstance(entry, tuple) and entry[1] is not None:
        entry[1].cancel()
