"""How often one caller may ask: a bucket that fills evenly and holds a minute's worth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import TooManyRequests

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE = 60.0
_MANY = 10_000  # callers after which the one that was silent the longest is forgotten


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Limits:
    """At most `per_minute` requests of each caller in a minute; 0 is no limit. `clock` gives seconds."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, caller: str) -> dict[str, str]:
        """Count one request and return the headers that tell what is left. Raises TooManyRequests."""
        if not self._per_minute:
            return {}
        bucket = self._filled(caller)
        if bucket.left < 1:
            headers = self._headers(bucket)
            raise TooManyRequests(self._per_minute, (1 - bucket.left) * MINUTE / self._per_minute, headers)
        bucket.left -= 1
        return self._headers(bucket)

    def _filled(self, caller: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.pop(caller, None) or _Bucket(self._per_minute, now)
        if len(self._buckets) >= _MANY:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[caller] = bucket
        bucket.left = min(self._per_minute, bucket.left + (now - bucket.at) * self._per_minute / MINUTE)
        bucket.at = now
        return bucket

    def _headers(self, bucket: _Bucket) -> dict[str, str]:
        full_in = (self._per_minute - bucket.left) * MINUTE / self._per_minute
        return {
            "x-ratelimit-limit-requests": str(self._per_minute),
            "x-ratelimit-remaining-requests": str(int(bucket.left)),
            "x-ratelimit-reset-requests": f"{full_in:.2f}s",
        }
