"""Work that runs ahead of the one who waits for it, and is handed over in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 16  # items that may wait, finished or not, for a slow reader


async def ahead(
    source: AsyncIterator[T], work: Callable[[T], asyncio.Future[R] | None]
) -> AsyncGenerator[tuple[T, R | None]]:
    """Yield every item of `source` with the result of its work, in the order of `source`.

    `work` starts as soon as its item is there, however long those before it take. Closing the generator cancels
    all that runs. What `source` or a work raises is raised when its turn comes.
    """
    begun: asyncio.Queue[tuple[T, asyncio.Future[R] | None] | Exception | None] = asyncio.Queue(AHEAD)

    async def begin() -> None:
        try:
            async for item in source:
                await begun.put((item, work(item)))
        except Exception as error:  # noqa: BLE001  # whatever it is, the reader gets it
            await begun.put(error)
        else:
            await begun.put(None)

    beginner = asyncio.create_task(begin())
    try:
        while (entry := await begun.get()) is not None:
            if isinstance(entry, Exception):
                raise entry
            item, result = entry
            yield item, None if result is None else await result
    finally:
        beginner.cancel()
        await asyncio.gather(beginner, return_exceptions=True)
        while not begun.empty():
            _drop(begun.get_nowait())


def _drop(entry: tuple[object, asyncio.Future[R] | None] | Exception | None) -> None:
    if isinstance(entry, tuple) and entry[1] is not None:
        entry[1].cancel()
