"""Rate limits per caller, as token buckets that refill evenly and hold one minute's quota."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # Makes a server's error from: rate per minute, what is counted, seconds to wait, headers with the rate.
    Exceeded: TypeAlias = Callable[[int, str, float, Mapping[str, str]], Exception]

MINUTE = 60.0
COUNTED = ("requests", "images")
_MAX_CALLERS = 10_000  # above this number, the caller that was idle for the longest time is forgotten


def header_names(what: str) -> tuple[str, str, str]:
    """Return the names of the headers with limit, remaining quota and time to refill of `what`."""
    return f"x-ratelimit-limit-{what}", f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}"


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class RateLimits:
    """Rate limits of `what` (`requests` or `images`), one bucket per caller.

    `exceeded` makes the error, `clock` returns seconds.
    """

    def __init__(self, what: str, exceeded: Exceeded, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._exceeded = exceeded
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, caller: str, per_minute: int, count: int = 1) -> dict[str, str]:
        """Take `count` from the caller's quota and return headers with the remaining quota.

        0 per minute means unlimited. Raises the error that `exceeded` makes if too little is left.
        """
        if not per_minute:
            return {}
        bucket = self._require(caller, per_minute, count)
        bucket.left -= count
        return self._headers(bucket, per_minute)

    def check(self, caller: str, per_minute: int, count: int) -> None:
        """Raise the error that `exceeded` makes if `take` would fail now; take nothing."""
        if per_minute:
            self._require(caller, per_minute, count)

    def give_back(self, caller: str, per_minute: int, count: int = 1) -> dict[str, str]:
        """Return `count` to the caller's quota, for images that were not made, and return the new headers."""
        if not per_minute or caller not in self._buckets:
            return {}
        bucket = self._refill(caller, per_minute)
        bucket.left = min(per_minute, bucket.left + count)
        return self._headers(bucket, per_minute)

    def _require(self, caller: str, per_minute: int, count: int) -> _Bucket:
        bucket = self._refill(caller, per_minute)
        if bucket.left < count:
            wait = (count - bucket.left) * MINUTE / per_minute
            raise self._exceeded(per_minute, self._what, wait, self._headers(bucket, per_minute))
        return bucket

    def _refill(self, caller: str, per_minute: int) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.pop(caller, None) or _Bucket(per_minute, now)
        if len(self._buckets) >= _MAX_CALLERS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[caller] = bucket
        bucket.left = min(per_minute, bucket.left + (now - bucket.at) * per_minute / MINUTE)
        bucket.at = now
        return bucket

    def _headers(self, bucket: _Bucket, per_minute: int) -> dict[str, str]:
        full_in = (per_minute - bucket.left) * MINUTE / per_minute
        values = str(per_minute), str(max(0, int(bucket.left))), f"{full_in:.2f}s"
        return dict(zip(header_names(self._what), values, strict=True))
