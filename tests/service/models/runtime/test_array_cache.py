"""What is fed at each step is stacked once."""

import numpy as np
import pytest

from tintype.service.models.runtime.array_cache import LIMIT, ArrayCache, stack

ROWS = [np.full((2, 3), value, np.float32) for value in range(8)]


def test_the_same_rows_are_the_same_array() -> None:
    """Not only equal: nothing is copied, and whoever holds it for a device knows it again. Nobody can change it."""
    stacks = ArrayCache(stack)
    both = stacks(ROWS[:2])
    assert both.shape == (2, 2, 3)
    assert np.array_equal(both, np.stack(ROWS[:2]))
    assert stacks(ROWS[:2]) is both
    with pytest.raises(ValueError, match="read-only"):
        both[0] = 0


def test_other_rows_or_another_order_are_another_array() -> None:
    """Equal values of other rows count as other rows; those seen lately are still there."""
    stacks = ArrayCache(stack)
    first = stacks(ROWS[:2])
    assert np.array_equal(stacks(ROWS[1::-1]), np.stack(ROWS[1::-1]))
    assert stacks([ROWS[0].copy(), ROWS[1]]) is not first
    assert stacks(ROWS[:2]) is first


def test_only_the_latest_are_kept() -> None:
    """What was not fed for a while is let go, however many rows come by."""
    stacks = ArrayCache(stack)
    first = stacks([ROWS[0]])
    for row in ROWS[1 : LIMIT + 1]:
        stacks([row])
    assert len(stacks._latest) == LIMIT
    assert stacks([ROWS[0]]) is not first
