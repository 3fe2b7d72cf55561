"""The ordered pipeline: results in order, a limited number ahead of the reader, all cancelled at the end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from tintype.service.ordered_pipeline import AHEAD, run_ahead

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def numbers(count: int, seen: list[int] | None = None) -> AsyncGenerator[int]:
    for number in range(count):
        if seen is not None:
            seen.append(number)
        yield number


def later(number: int) -> asyncio.Future[int]:
    """Return a future of the square of a number; larger numbers finish earlier."""

    async def square() -> int:
        await asyncio.sleep(0.05 - number / 1000)
        return number * number

    return asyncio.ensure_future(square())


def test_results_come_in_the_order_of_their_items() -> None:
    """Work runs concurrently, and results come in the order of the items, however long each takes."""

    async def scenario() -> Any:
        began = asyncio.get_running_loop().time()
        pairs = [pair async for pair in run_ahead(numbers(10), later)]
        return pairs, asyncio.get_running_loop().time() - began

    pairs, took = asyncio.run(scenario())
    assert pairs == [(number, number * number) for number in range(10)]
    assert took < 0.4  # one after the other would take 0.45 s


def test_items_without_work_pass() -> None:
    """An item without work has the result None."""

    async def scenario() -> Any:
        return [pair async for pair in run_ahead(numbers(3), lambda n: later(n) if n == 1 else None)]

    assert asyncio.run(scenario()) == [(0, None), (1, 1), (2, None)]


def test_errors_come_in_order() -> None:
    """Results before an error come first, whether the source or the work fails."""

    async def source() -> AsyncGenerator[int]:
        yield 1
        raise ValueError("source")

    async def broken() -> int:
        raise ValueError("work")

    async def scenario(items: Any, work: Any) -> Any:
        got = []
        try:
            async for pair in run_ahead(items, work):
                got.append(pair)  # noqa: PERF401  # the results before the error are returned
        except ValueError as error:
            return got, str(error)
        return got, "no error"

    assert asyncio.run(scenario(source(), later)) == ([(1, 1)], "source")
    works = asyncio.run(scenario(numbers(2), lambda n: asyncio.ensure_future(broken()) if n else later(n)))
    assert works == ([(0, 0)], "work")


def test_slow_reader_limits_the_source() -> None:
    """The source runs at most AHEAD items ahead of the reader."""
    seen: list[int] = []

    async def scenario() -> Any:
        async with aclosing(run_ahead(numbers(1000, seen), lambda _: None)) as pairs:
            await anext(pairs)
            await asyncio.sleep(0.05)
            return len(seen)

    assert asyncio.run(scenario()) <= AHEAD + 3


def test_closing_cancels_running_work() -> None:
    """When the reader closes the pipeline, its running work is cancelled."""
    begun: list[asyncio.Future[int | None]] = []

    def work(number: int) -> asyncio.Future[int | None]:
        begun.append(asyncio.ensure_future(asyncio.sleep(0 if number == 0 else 60, number)))
        return begun[-1]

    async def scenario() -> Any:
        async with aclosing(run_ahead(numbers(5), work)) as pairs:
            await anext(pairs)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return [future.cancelled() for future in begun]

    assert asyncio.run(scenario()) == [False, *[True] * 4]
