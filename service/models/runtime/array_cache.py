"""What is made of embeddings for a call, kept from one step to the next: stacked, cast, sent to a device.

The rows that share a call mostly stay together. So one and the same array is fed again, which costs nothing, and which
a device that holds it already need not be sent.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEPT = 4
"""Results that are kept: guidance as two calls takes two, and two models' stages as many again."""


class ArrayCache:
    """What `make` made of the latest arrays, which must not be changed any more."""

    def __init__(self, make: Callable[[Sequence[Any]], Any], limit: int = KEPT) -> None:
        self._make, self._limit = make, limit
        # An id says what array it is as long as that array is kept, too.
        self._latest: OrderedDict[tuple[int, ...], tuple[Sequence[Any], Any]] = OrderedDict()

    def __call__(self, arrays: Sequence[Any]) -> Any:
        """Return what is made of `arrays`: the same object for the same arrays."""
        key = tuple(map(id, arrays))
        if key in self._latest:
            self._latest.move_to_end(key)
            return self._latest[key][1]
        made = self._make(arrays)
        self._latest[key] = arrays, made
        if len(self._latest) > self._limit:
            self._latest.popitem(last=False)
        return made


def stack(arrays: Sequence[Any]) -> Any:
    """Return arrays [...] as one [n, ...], read-only."""
    return frozen(np.stack(arrays))


def frozen(array: Any) -> Any:
    """Make an array read-only: by that those who feed it on know that it stays as it is."""
    array.setflags(write=False)
    return array
