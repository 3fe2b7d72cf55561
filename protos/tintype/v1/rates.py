"""Rates of one caller, as token buckets.

They fill evenly and hold a minute's worth.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # Makes the error of a server from: rate per minute, what is counted, seconds to wait, headers that tell the rate.
    Exceeded: TypeAlias = Callable[[int, str, float, Mapping[str, str]], Exception]

MINUTE = 60.0
_MANY = 10_000  # callers after which the one that was silent the longest is forgotten


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class RateLimits:
    """A rate of `what` (`requests`, `images`) for each caller.

    `exceeded` makes the error, `clock` gives seconds.
    """

    def __init__(self, what: str, exceeded: Exceeded, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._exceeded = exceeded
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, caller: str, per_minute: int, count: int = 1) -> dict[str, str]:
        """Count `count` and return the headers that tell what is left.

        0 per minute is unlimited. Raises what `exceeded` makes.
        """
        if not per_minute:
            return {}
        bucket = self._enough(caller, per_minute, count)
        bucket.left -= count
        return self._headers(bucket, per_minute)

    def foresee(self, caller: str, per_minute: int, count: int) -> None:
        """Raise what `exceeded` makes if `count` can't be taken now; count nothing."""
        if per_minute:
            self._enough(caller, per_minute, count)

    def give_back(self, caller: str, per_minute: int, count: int = 1) -> dict[str, str]:
        """Undo `take` for images that were not made.

        Return the headers again.
        """
        if not per_minute or caller not in self._buckets:
            return {}
        bucket = self._filled(caller, per_minute)
        bucket.left = min(per_minute, bucket.left + count)
        return self._headers(bucket, per_minute)

    def _enough(self, caller: str, per_minute: int, count: int) -> _Bucket:
        bucket = self._filled(caller, per_minute)
        if bucket.left < count:
            wait = (count - bucket.left) * MINUTE / per_minute
            raise self._exceeded(per_minute, self._what, wait, self._headers(bucket, per_minute))
        return bucket

    def _filled(self, caller: str, per_minute: int) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.pop(caller, None) or _Bucket(per_minute, now)
        if len(self._buckets) >= _MANY:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[caller] = bucket
        bucket.left = min(per_minute, bucket.left + (now - bucket.at) * per_minute / MINUTE)
        bucket.at = now
        return bucket

    def _headers(self, bucket: _Bucket, per_minute: int) -> dict[str, str]:
        full_in = (per_minute - bucket.left) * MINUTE / per_minute
        return {
            f"x-ratelimit-limit-{self._what}": str(per_minute),
            f"x-ratelimit-remaining-{self._what}": str(max(0, int(bucket.left))),
            f"x-ratelimit-reset-{self._what}": f"{full_in:.2f}s",
        }
