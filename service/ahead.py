"""Work that runs ahead of the one who waits for it, and is handed over in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

T = TypeVar("T")
R = TypeVar("R")


async def ahead(
    source: AsyncIterator[T], work: Callable[[T], asyncio.Future[R] | None]
) -> AsyncGenerator[tuple[T, R | None]]:
    """Yield every item of `source` with the result of its work, in the order of `source`.

    `work` starts as soon as its item is there, however long those before it take. Closing the generator cancels
    all that runs. What `source` or a work raises is raised when its turn comes.
    """
    begun: asyncio.Queue[tuple[T, asyncio.Future[R] | None] | None] = asyncio.Queue()

    async def begin() -> None:
        try:
            async for item in source:
                begun.put_nowait((item, work(item)))
        finally:
            begun.put_nowait(None)

    beginner = asyncio.create_task(begin())
    try:
        while (pair := await begun.get()) is not None:
            item, result = pair
            yield item, None if result is None else await result
        await beginner
    finally:
        beginner.cancel()
        await asyncio.gather(beginner, return_exceptions=True)
        _drop(begun)


def _drop(begun: asyncio.Queue[tuple[T, asyncio.Future[R] | None] | None]) -> None:
    while not begun.empty():
        pair = begun.get_nowait()
        if pair is not None and pair[1] is not None:
            pair[1].cancel()
