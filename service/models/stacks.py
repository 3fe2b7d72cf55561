"""Rows of embeddings stacked for a call, kept from one step to the next.

The rows that share a call mostly stay together. So one and the same array is fed again, which costs nothing, and which
a device that holds it already need not be sent.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT = 4
"""Stacks that are kept: guidance as two calls takes two, and two models' stages as many again."""


class Stacks:
    """The stacks of the latest calls."""

    def __init__(self) -> None:
        # An id says what array it is as long as that array is kept, too.
        self._latest: OrderedDict[tuple[int, ...], tuple[Sequence[Any], Any]] = OrderedDict()

    def __call__(self, arrays: Sequence[Any]) -> Any:
        """Return arrays [...] as one [n, ...], read-only: the same object for the same arrays."""
        key = tuple(map(id, arrays))
        if key in self._latest:
            self._latest.move_to_end(key)
            return self._latest[key][1]
        stacked = np.stack(arrays)
        stacked.setflags(write=False)
        self._latest[key] = arrays, stacked
        if len(self._latest) > KEPT:
            self._latest.popitem(last=False)
        return stacked
