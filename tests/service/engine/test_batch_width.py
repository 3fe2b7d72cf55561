"""Batch widths are measured, not guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.engine.exact import Bench, ExactModel
from tintype.service.engine.batch_width import FORGET_AFTER, TRIES, WIDTHS, BatchWidths
from tintype.service.engine.events import Completed, Finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Key = tuple[str, tuple[int, int, int], tuple[tuple[int, ...], ...]]

KEY: Key = ("model", (4, 8, 8), ())

# Seconds of a call of n rows: on a CPU where guidance is faster as two calls; where the width does not matter; on
# a device that is saturated at four rows; on one where only eight rows pay.
COSTS: dict[str, tuple[Callable[[int], float], int]] = {
    "worse": (lambda n: n**1.1, 1),
    "even": (float, 1),
    "knee at four": (lambda n: max(1.0, n / 4), 4),
    "free": (lambda _: 1.0, 8),
    "late": (lambda n: float(n) if n < 8 else 1.0, 1),
}


def busy(widths: BatchWidths, cost: Callable[[int], float], *, rows: int, units: int = 40) -> list[int]:
    """Return the widths of `units` units, with `rows` model rows always available."""
    chosen = []
    for _ in range(units):
        at_hand = min(rows, widths.limit(KEY).model_rows)
        width = widths.choose(KEY, at_hand)
        calls = [min(width, at_hand - i) for i in range(0, at_hand, width)]
        widths.record(KEY, width, at_hand, sum(map(cost, calls)))
        chosen.append(width)
    return chosen


@pytest.mark.parametrize("name", COSTS)
def test_the_best_width_is_found(name: str) -> None:
    """Each width is tried three times until one does not pay; from then on the best is used."""
    cost, knee = COSTS[name]
    widths = BatchWidths()
    chosen = busy(widths, cost, rows=8)
    assert chosen[-1] == widths.best(KEY) == knee
    tried = [n for n in WIDTHS if n <= 2 * knee]
    assert chosen[: 3 * len(tried)] == [n for n in tried for _ in range(3)]
    assert set(chosen[3 * len(tried) :]) == {knee}


@pytest.mark.parametrize("name", COSTS)
def test_a_width_without_enough_rows_is_not_tried(name: str) -> None:
    """With two rows, one guided image, only widths 1 and 2 are tried."""
    cost, knee = COSTS[name]
    widths = BatchWidths()
    assert busy(widths, cost, rows=2)[-1] == min(knee, 2)
    assert busy(widths, cost, rows=8)[-1] == knee


def test_a_slow_first_call_is_ignored() -> None:
    """The first call of a shape includes warm-up, and other programs may slow one of the others."""
    widths = BatchWidths()
    times = {1: [9.0, 1.0, 1.0], 2: [50.0, 7.0, 1.0]}
    for width, seconds in times.items():
        for value in seconds:
            widths.record(KEY, width, width, value)
    assert widths.best(KEY) == 2


def best_after_changes(widths: BatchWidths, cost: float, *, every: int) -> int:
    """Return the best width after units whose rows change at each `every`th; a wide call saves 30 %."""
    latest = None
    for unit in range(200):
        rows = 4 if unit % every else 3
        width = widths.choose(KEY, rows)
        spent, took = 0, 0.0
        while spent < rows:
            call = min(width, rows - spent)
            took += (call if call == 1 else 0.7 * call) + (cost if call != latest else 0)
            spent, latest = spent + call, call
        widths.record(KEY, width, rows, took)
    return widths.best(KEY)


def test_the_cost_of_a_change_counts() -> None:
    """If every second unit changes the shape, and that costs as much as many rows, single rows are best."""
    assert best_after_changes(BatchWidths(), 0, every=2) > 1
    assert best_after_changes(BatchWidths(), 20, every=2) == 1


def test_a_rare_change_counts_little() -> None:
    """If one unit in a hundred changes the shape, that costs less than wide calls save."""
    assert best_after_changes(BatchWidths(), 20, every=100) > 1


def test_a_width_is_tried_again_after_the_changes_end() -> None:
    """Old changes of shape do not keep calls narrow forever."""
    widths = BatchWidths()
    for width, seconds in {1: 1.0, 2: 1.4}.items():
        for _ in range(TRIES):
            widths.record(KEY, width, width, seconds)
    for _ in range(8):
        widths.record(KEY, 2, 3, 1.0)
        widths.record(KEY, 2, 2, 21.4)
    assert widths.best(KEY) == 1
    for _ in range(9 * FORGET_AFTER):
        widths.record(KEY, 1, 1, 1.0)
    assert widths.best(KEY) == 2


@pytest.mark.parametrize(
    "other", [("other", (4, 8, 8), ()), ("model", (4, 16, 16), ()), ("model", (4, 8, 8), ((3, 8, 8),))]
)
def test_alternating_models_or_sizes_are_changes_of_shape(other: Key) -> None:
    """Each call of two alternating sizes includes the cost of a change."""
    widths = BatchWidths()
    for _ in range(8):
        widths.record(other, 1, 1, 1.0)
        widths.record(KEY, 1, 1, 3.0)
    assert widths._trials[KEY][1].cost == 3.0
    for _ in range(64):
        widths.record(KEY, 1, 1, 1.0)
    assert widths._trials[KEY][1].cost == 1.0


def test_partly_filled_calls_are_ignored() -> None:
    """Three rows in calls of two do not measure calls of two rows."""
    widths = BatchWidths()
    for _ in range(5):
        widths.record(KEY, 2, 3, 1.0)
        widths.record(KEY, 6, 6, 1.0)
    assert widths.choose(KEY, 2) == 1


def test_batch_keys_are_measured_separately() -> None:
    """Another model or another size has its own best width."""
    widths = BatchWidths()
    busy(widths, COSTS["free"][0], rows=8)
    assert widths.best(KEY) == 8
    assert widths.best(("model", (4, 16, 16), ())) == 1


def test_max_batch_fixes_the_width() -> None:
    """With `max_batch` nothing is tried, and guidance shares the call."""
    widths = BatchWidths(3)
    assert set(busy(widths, COSTS["worse"][0], rows=6)) == {6}
    assert widths.limit(KEY) == (3, 6)


@pytest.mark.parametrize("images", [0, 4])
def test_out_of_memory_halves_the_width(images: int) -> None:
    """The width falls to one row and not below, for all later calls of the batch key."""
    widths = BatchWidths(images)
    busy(widths, COSTS["free"][0], rows=8)
    for rows in (8, 4, 2):
        assert widths.choose(KEY, 8) == rows
        assert widths.shrink(KEY, rows)
    assert widths.limit(KEY) == (1, 1)
    assert not widths.shrink(KEY, 1)


class TimedModel(ExactModel):
    """An exact model whose calls take the time given in COSTS."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.seconds = COSTS[name][0]

    def denoise(self, latents: NDArray[np.float32], *rest: object) -> NDArray[np.float32]:
        self.cost["denoise"] = self.seconds(len(latents))
        return super().denoise(latents, *rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "ones", "twos"), [("worse", 2 * 9, 3), ("free", 2 * 3, 9)])
def test_guidance_is_one_call_or_two(name: str, ones: int, twos: int) -> None:
    """The faster one is used after both were tried for three steps; the image is bit-identical."""
    model = TimedModel(name)
    bench = Bench(model)
    ticket = bench.admit(steps=12, seed=1)
    bench.run()
    made = [rows for name, rows in model.calls if name == "denoise"]
    assert (made.count(1), made.count(2), len(made)) == (ones, twos, ones + twos)
    fixed = Bench(max_batch=1)
    other = fixed.admit(steps=12, seed=1)
    fixed.run()
    assert np.array_equal(bench.of(ticket, Finished)[0].pixels, fixed.of(other, Finished)[0].pixels)


def test_without_a_gain_from_batching_the_shortest_job_goes_first() -> None:
    """A short job that arrives after a long one ends first, with no call of the long one in between."""
    model = TimedModel("even")
    bench = Bench(model)
    bench.admit(steps=30, guidance_scale=1.0, seed=1)
    bench.run()
    long = bench.admit(steps=50, guidance_scale=1.0, seed=2)
    bench.step(10)
    short = bench.admit(steps=4, guidance_scale=1.0, seed=3)
    bench.run()
    ends = [ticket for ticket, event in bench.log if isinstance(event, Completed)]
    assert ends[1:] == [short, long]
    rows = [n for name, n in model.calls if name == "denoise"]
    assert rows.count(2) == 3  # the width was tried and dropped
