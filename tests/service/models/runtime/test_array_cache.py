"""The cache of stacked arrays."""

import numpy as np
import pytest

from tintype.service.models.runtime.array_cache import LIMIT, ArrayCache, stack

ROWS = [np.full((2, 3), value, np.float32) for value in range(8)]


def test_the_same_rows_give_the_same_read_only_array() -> None:
    """It is the same object, so nothing is copied, and a device that holds it does not receive it again."""
    cache = ArrayCache(stack)
    both = cache(ROWS[:2])
    assert both.shape == (2, 2, 3)
    assert np.array_equal(both, np.stack(ROWS[:2]))
    assert cache(ROWS[:2]) is both
    with pytest.raises(ValueError, match="read-only"):
        both[0] = 0


def test_other_rows_or_another_order_give_another_array() -> None:
    """Another array with equal values is another row; earlier results stay in the cache."""
    cache = ArrayCache(stack)
    first = cache(ROWS[:2])
    assert np.array_equal(cache(ROWS[1::-1]), np.stack(ROWS[1::-1]))
    assert cache([ROWS[0].copy(), ROWS[1]]) is not first
    assert cache(ROWS[:2]) is first


def test_only_the_latest_results_are_kept() -> None:
    """The number of cached results is bounded by LIMIT."""
    cache = ArrayCache(stack)
    first = cache([ROWS[0]])
    for row in ROWS[1 : LIMIT + 1]:
        cache([row])
    assert len(cache._latest) == LIMIT
    assert cache([ROWS[0]]) is not first
