"""Noticing that nothing has come for a while, without giving up on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Item = TypeVar("Item")


async def or_silence(items: AsyncGenerator[Item], every: float) -> AsyncGenerator[Item | None]:
    """Yield what `items` yields, and None after each `every` seconds in which it has yielded nothing.

    Closing this, at any moment, ends `items` as well.
    """
    try:
        while True:
            coming = asyncio.create_task(_next(items))
            try:
                while not (await asyncio.wait({coming}, timeout=every))[0]:
                    yield None
                found = coming.result()
            finally:
                coming.cancel()
            if found is None:
                return
            yield found
    finally:
        if coming.done():
            await items.aclose()


async def _next(items: AsyncGenerator[Item]) -> Item | None:
    return await anext(items, None)
