"""Work that runs ahead of a slow reader, with results in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 16  # items, finished or not, that wait for a slow reader

Entry: TypeAlias = "tuple[T, asyncio.Future[R] | None] | Exception | None"  # an item, an error, or the end


async def run_ahead(
    source: AsyncIterator[T], work: Callable[[T], asyncio.Future[R] | None]
) -> AsyncGenerator[tuple[T, R | None]]:
    """Yield every item of `source` with the result of `work(item)`, in the order of `source`.

    Work starts as soon as its item arrives, however long the work of earlier items takes. Closing the generator cancels
    all running work. An exception of `source` or of the work is raised at its position in the order.
    """
    entries: asyncio.Queue[Entry[T, R]] = asyncio.Queue(AHEAD)
    starter = asyncio.create_task(_start_work(source, work, entries))
    try:
        while (entry := await entries.get()) is not None:
            if isinstance(entry, Exception):
                raise entry
            item, result = entry
            yield item, None if result is None else await result
    finally:
        starter.cancel()
        await asyncio.gather(starter, return_exceptions=True)
        while not entries.empty():
            _cancel(entries.get_nowait())


async def _start_work(
    source: AsyncIterator[T], work: Callable[[T], asyncio.Future[R] | None], entries: asyncio.Queue[Entry[T, R]]
) -> None:
    """Put an entry for each item of `source`, then the end, into `entries`."""
    try:
        async for item in source:
            await entries.put((item, work(item)))
    except Exception as error:  # noqa: BLE001  # the reader gets any exception
        await entries.put(error)
    else:
        await entries.put(None)


def _cancel(entry: Entry[T, R]) -> None:
    if isinstance(entry, tuple) and entry[1] is not None:
        entry[1].cancel()
