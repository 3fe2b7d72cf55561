"""A cache of arrays derived from other arrays: stacked, cast, or sent to a device.

Rows that share a call mostly stay together from step to step. The cache then returns the same array object, which
costs nothing, and which a device that already holds it does not receive again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMIT = 4
"""Results kept: guidance in two calls needs two, and the stages of two models twice as many."""


class ArrayCache:
    """The latest results of `make`. Arrays passed to it must not change any more."""

    def __init__(self, make: Callable[[Sequence[Any]], Any], limit: int = LIMIT) -> None:
        self._make, self._limit = make, limit
        # The arrays are kept with the result, so that no other object gets their ids.
        self._latest: OrderedDict[tuple[int, ...], tuple[Sequence[Any], Any]] = OrderedDict()

    def __call__(self, arrays: Sequence[Any]) -> Any:
        """Return `make(arrays)`, the same object for the same arrays."""
        key = tuple(map(id, arrays))
        if key in self._latest:
            self._latest.move_to_end(key)
            return self._latest[key][1]
        result = self._make(arrays)
        self._latest[key] = arrays, result
        if len(self._latest) > self._limit:
            self._latest.popitem(last=False)
        return result


def stack(arrays: Sequence[Any]) -> Any:
    """Return arrays [...] as one [n, ...], read-only."""
    return freeze(np.array(arrays))  # a fifth of the time of `np.stack`


def freeze(array: Any) -> Any:
    """Make `array` read-only, and return it; callees may then rely on it not changing."""
    array.setflags(write=False)
    return array
