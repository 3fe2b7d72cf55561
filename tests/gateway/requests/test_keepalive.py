"""Silence is noticed, and nothing is lost by it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from tintype.gateway.requests.streaming import with_keepalive

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


async def test_quick() -> None:
    """What comes in time comes as it is, and the end is the end."""

    async def items() -> AsyncGenerator[int]:
        yield 1
        yield 2

    assert [item async for item in with_keepalive(items(), 5)] == [1, 2]


async def test_silent() -> None:
    """Silence is told as often as it lasts, and what comes after it is not lost."""
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


async def test_error() -> None:
    """An error comes through."""

    async def items() -> AsyncGenerator[int]:
        yield 1
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        assert [item async for item in with_keepalive(items(), 5)] == [1]


@pytest.mark.parametrize("waits", [True, False])
async def test_closing(waits: bool) -> None:  # noqa: FBT001
    """Whoever leaves, while something comes or while nothing does, ends what was listened to."""
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
