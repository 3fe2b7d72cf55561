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
    proceed = asyncio.Event()

    async def items() -> AsyncGenerator[int]:
        await proceed.wait()
        yield 1

    received = []
    async for item in with_keepalive(items(), 0.01):
        received.append(item)
        if len(received) == 3:
            proceed.set()
    assert received[:3] == [None, None, None]
    assert received[-1] == 1


async def test_errors_are_raised() -> None:
    """An error is raised to the reader."""

    async def items() -> AsyncGenerator[int]:
        yield 1
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        assert [item async for item in with_keepalive(items(), 5)] == [1]


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_closing_closes_the_items(is_waiting: bool) -> None:  # noqa: FBT001
    """Closing the generator, between items or during a wait, closes the inner one."""
    closed = asyncio.Event()

    async def items() -> AsyncGenerator[int]:
        try:
            if is_waiting:
                await asyncio.sleep(60)
            yield 1
        finally:
            closed.set()

    async with aclosing(with_keepalive(items(), 0.01)) as marked_items:
        assert await anext(marked_items) == (None if is_waiting else 1)
    await asyncio.wait_for(closed.wait(), 30)
