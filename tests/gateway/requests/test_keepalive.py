"""Marks for periods without items; no item is lost."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from tintype.gateway.requests.streaming import with_keepalive

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


async def test_quick_items_are_unchanged() -> None:
    """Items that arrive in time are yielded unchanged, then the generator ends."""

    async def items() -> AsyncGenerator[int]:
        yield 1
        yield 2

    assert [item async for item in with_keepalive(items(), 5)] == [1, 2]


async def test_periods_without_items_yield_none() -> None:
    """Each period without an item yields None, and later items are not lost."""
    go = asyncio.Event()

    async def items() -> AsyncGenerator[int]:
        await go.wait()
        yield 1

    found = []
    async for item in with_keepalive(items(), 0.01):
        found.append(item)
        if len(found) == 3:
            go.set()
    assert found[:3] == [None, None, None]
    assert found[-1] == 1


async def test_errors_are_raised() -> None:
    """An error is raised to the reader."""

    async def items() -> AsyncGenerator[int]:
        yield 1
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        assert [item async for item in with_keepalive(items(), 5)] == [1]


@pytest.mark.parametrize("waits", [True, False])
async def test_closing_closes_the_items(waits: bool) -> None:  # noqa: FBT001
    """Closing the generator, between items or during a wait, closes the inner one."""
    ended = asyncio.Event()

    async def items() -> AsyncGenerator[int]:
        try:
            if waits:
                await asyncio.sleep(60)
            yield 1
        finally:
            ended.set()

    async with aclosing(with_keepalive(items(), 0.01)) as heard:
        assert await anext(heard) == (None if waits else 1)
    await asyncio.wait_for(ended.wait(), 30)
