"""Estimates: how long key takes here, measured, by model, shape and number of rows.

From the same figures come two things. An estimate, in seconds, follows every measurement and is None before the first.
A cost, in whole microseconds, orders jobs: it always exists (a guess at first) and moves only when it is off by a
quarter, so that the order of jobs does not flicker with the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .plan import BatchKey, Plan

WEIGHT = 0.2  # of the newest measurement
HALF_LIFE = 60.0  # seconds after which an estimate that nobody has measured again is believed half as much
TOLERANCE = 1.25  # a published cost is this near to the estimate, either way
GUESS_PER_LATENT = 1e-5  # seconds of a call for each place in the latents, until something was measured

K = TypeVar("K")
CostKey: TypeAlias = "tuple[BatchKey, bool, bool]"  # and whether there is guidance, and an image to start from


@dataclass(frozen=True, slots=True)
class Cost:
    """What one image's encoding, one of its calls, and its decoding count, in microseconds."""

    encode: int
    call: int
    decode: int


class Average:
    """An exponentially weighted mean in seconds, which forgets its first value: it holds the warming up.

    `width` is of what calls, where that matters.
    """

    def __init__(self, width: int = 0) -> None:
        self.value = 0.0
        self.width = width
        self._count = 0

    def add(self, value: float) -> None:
        """Take one more measurement."""
        self._count += 1
        self.value += (value - self.value) * (1.0 if self._count <= 2 else WEIGHT)


class Estimates:
    """What was measured, and the costs made of it. `version` counts the changes of costs."""

    def __init__(self) -> None:
        self.version = 0
        self._encode: dict[str | BatchKey, Average] = {}
        self._calls: dict[BatchKey, dict[int, Average]] = {}
        self._decode: dict[BatchKey, Average] = {}
        self._costs: dict[CostKey, Cost] = {}
        self._measured: dict[BatchKey, float] = {}

    def record_encode(self, plan: Plan, seconds: float) -> None:
        """Encoding its prompts took so long, and its image if there is one."""
        self._encode.setdefault(_encode_key(plan.batch_key, plan.source is not None), Average()).add(seconds)
        self._publish(plan.batch_key)

    def record_call(self, plan: Plan, model_rows: int, seconds: float, width: int, *, now: float) -> None:
        """Record that `model_rows` rows took `seconds`, in calls of `width` rows; guidance is two rows.

        What was measured with another width counts no more. `now` is a point of the engine's clock.
        """
        self._measured[plan.batch_key] = now
        calls = self._calls.setdefault(plan.batch_key, {})
        if model_rows not in calls or calls[model_rows].width != width:
            calls[model_rows] = Average(width)
        calls[model_rows].add(seconds)
        self._publish(plan.batch_key)

    def record_decode(self, plan: Plan, seconds: float) -> None:
        """Decoding one of its images took so long."""
        self._decode.setdefault(plan.batch_key, Average()).add(seconds)
        self._publish(plan.batch_key)

    def cost(self, plan: Plan) -> Cost:
        """Return what its key counts."""
        key = plan.batch_key, plan.guided, plan.source is not None
        if key not in self._costs:
            self._costs[key] = self._estimate(*key)
        return self._costs[key]

    def call_seconds(self, batch_key: BatchKey, model_rows: int) -> float | None:
        """Estimate a call in seconds; from another number of rows, in proportion."""
        known = self._calls.get(batch_key)
        if not known:
            return None
        nearest = min(known, key=lambda n: abs(log(n / model_rows)))
        return known[nearest].value * model_rows / nearest

    def confidence(self, batch_key: BatchKey, now: float) -> float:
        """Return how far an estimate may be relied on to turn somebody away, 0 to 1: the less, the older it is.

        What once took long, as when the machine slept, would else keep out those whose key would show that it is over.
        """
        return float(0.5 ** ((now - self._measured.get(batch_key, now)) / HALF_LIFE))

    def encode_seconds(self, plan: Plan) -> float:
        """Return the mean seconds of one unit of encoding for `plan`, 0 where nothing was measured."""
        return _mean(self._encode, _encode_key(plan.batch_key, plan.source is not None))

    def decode_seconds(self, batch_key: BatchKey) -> float:
        """Return the mean seconds of decoding one image, 0 where nothing was measured."""
        return _mean(self._decode, batch_key)

    def _publish(self, batch_key: BatchKey) -> None:
        for key in [key for key in self._costs if key[0] == batch_key]:
            new = self._estimate(*key)
            if _differ(self._costs[key], new):
                self._costs[key] = new
                self.version += 1

    def _estimate(self, batch_key: BatchKey, guided: bool, has_image: bool) -> Cost:  # noqa: FBT001 - parts of a key
        shape = batch_key[1]
        model_rows = 2 if guided else 1
        call = self.call_seconds(batch_key, model_rows) or GUESS_PER_LATENT * shape[1] * shape[2] * model_rows
        encode = _mean(self._encode, _encode_key(batch_key, has_image)) or call
        decode = _mean(self._decode, batch_key) or 2 * call
        return Cost(*(max(round(seconds * 1e6), 1) for seconds in (encode, call, decode)))


def _encode_key(batch_key: BatchKey, has_image: bool) -> str | BatchKey:  # noqa: FBT001 - part of a key
    """Return what encoding takes the same time for: prompts of a model, or images of a size as well."""
    return batch_key if has_image else batch_key[0]


def _mean(averages: Mapping[K, Average], key: K) -> float:
    """Return a mean in seconds, 0 where nothing was measured."""
    return averages[key].value if key in averages else 0.0


def _differ(old: Cost, new: Cost) -> bool:
    pairs = ((old.encode, new.encode), (old.call, new.call), (old.decode, new.decode))
    return any(not a / TOLERANCE <= b <= a * TOLERANCE for a, b in pairs)
