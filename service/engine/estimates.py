"""Estimates of the time that work takes, measured by model, latent shape and number of rows.

Two numbers are derived from the measurements. An *estimate*, in seconds, follows every measurement and is None before
the first. A *cost*, in whole microseconds, orders tasks: it always exists (a guess at first) and changes only when it
is off by a quarter, so that the order of tasks does not change with every measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .plan import BatchKey, Plan

WEIGHT = 0.2  # weight of the newest measurement
HALF_LIFE = 60.0  # seconds without a measurement after which confidence in an estimate halves
TOLERANCE = 1.25  # largest ratio between cost and estimate, either way
GUESS_PER_LATENT = 1e-5  # seconds of a call per latent position, until one was measured

K = TypeVar("K")
CostKey: TypeAlias = "tuple[bool, bool]"  # guided, reads images


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of one unit of encoding, one denoiser call and one decode."""

    encode: int
    call: int
    decode: int


class Average:
    """An exponentially weighted mean in seconds. The second value replaces the first, which includes warm-up.

    `width` is the width of the measured calls, where that matters.
    """

    def __init__(self, width: int = 0) -> None:
        self.value = 0.0
        self.width = width
        self._count = 0

    def add(self, value: float) -> None:
        """Add a measurement."""
        self._count += 1
        self.value += (value - self.value) * (1.0 if self._count <= 2 else WEIGHT)


class Estimates:
    """Measurements and the costs derived from them. `version` counts the changes of costs."""

    def __init__(self) -> None:
        self.version = 0
        self._encode: dict[str | BatchKey, Average] = {}
        self._calls: dict[BatchKey, dict[int, Average]] = {}
        self._decode: dict[BatchKey, Average] = {}
        self._costs: dict[BatchKey, dict[CostKey, Cost]] = {}
        self._measured: dict[BatchKey, float] = {}

    def record_encode(self, plan: Plan, seconds: float) -> None:
        """Record the seconds of one unit of encoding, of prompts and of images, if any."""
        self._encode.setdefault(_encode_key(plan.batch_key, plan.reads_images), Average()).add(seconds)
        self._update_costs(plan.batch_key)

    def record_call(self, plan: Plan, model_rows: int, seconds: float, width: int, *, now: float) -> None:
        """Record that evaluating `model_rows` rows took `seconds`, in calls of `width` rows.

        Earlier measurements with another width are dropped. `now` is a time of the engine's clock.
        """
        self._measured[plan.batch_key] = now
        calls = self._calls.setdefault(plan.batch_key, {})
        average = calls.get(model_rows)
        if average is None or average.width != width:
            average = calls[model_rows] = Average(width)
        average.add(seconds)
        self._update_costs(plan.batch_key)

    def record_decode(self, plan: Plan, seconds: float) -> None:
        """Record the seconds of decoding one image."""
        self._decode.setdefault(plan.batch_key, Average()).add(seconds)
        self._update_costs(plan.batch_key)

    def cost(self, plan: Plan) -> Cost:
        """Return the current cost of work for `plan`."""
        costs, key = self._costs.setdefault(plan.batch_key, {}), (plan.guided, plan.reads_images)
        if key not in costs:
            costs[key] = Cost(*self._estimate(plan.batch_key, *key))
        return costs[key]

    def call_seconds(self, batch_key: BatchKey, model_rows: int) -> float | None:
        """Estimate the seconds of evaluating `model_rows` rows, in proportion to the nearest measured number."""
        measured = self._calls.get(batch_key)
        if not measured:
            return None
        if model_rows in measured:
            return measured[model_rows].value
        nearest = min(measured, key=lambda n: abs(log(n / model_rows)))
        return measured[nearest].value * model_rows / nearest

    def confidence(self, batch_key: BatchKey, now: float) -> float:
        """Return the confidence in an estimate, 0 to 1, which falls with its age. Admission multiplies estimates by it.

        Otherwise one slow measurement, for example across a suspend, would refuse the tasks that could correct it.
        """
        return float(0.5 ** ((now - self._measured.get(batch_key, now)) / HALF_LIFE))

    def encode_seconds(self, plan: Plan) -> float:
        """Return the mean seconds of one unit of encoding for `plan`; 0 if never measured."""
        return _mean(self._encode, _encode_key(plan.batch_key, plan.reads_images))

    def decode_seconds(self, batch_key: BatchKey) -> float:
        """Return the mean seconds of decoding one image; 0 if never measured."""
        return _mean(self._decode, batch_key)

    def _update_costs(self, batch_key: BatchKey) -> None:
        for (guided, has_image), old in self._costs.get(batch_key, {}).items():
            encode, call, decode = self._estimate(batch_key, guided, has_image)
            if _is_off(old.call, call) or _is_off(old.encode, encode) or _is_off(old.decode, decode):
                self._costs[batch_key][guided, has_image] = Cost(encode, call, decode)
                self.version += 1

    def _estimate(self, batch_key: BatchKey, guided: bool, has_image: bool) -> tuple[int, int, int]:  # noqa: FBT001
        """Return the microseconds of one unit of encoding, one denoiser call and one decode."""
        shape = batch_key[1]
        model_rows = 2 if guided else 1
        call = self.call_seconds(batch_key, model_rows) or GUESS_PER_LATENT * shape[1] * shape[2] * model_rows
        encode = _mean(self._encode, _encode_key(batch_key, has_image)) or call
        decode = _mean(self._decode, batch_key) or 2 * call
        return max(round(encode * 1e6), 1), max(round(call * 1e6), 1), max(round(decode * 1e6), 1)


def _encode_key(batch_key: BatchKey, has_image: bool) -> str | BatchKey:  # noqa: FBT001 - part of a key
    """Return the key of equal encoding times: the model, and with images also their sizes."""
    return batch_key if has_image else batch_key[0]


def _mean(averages: Mapping[K, Average], key: K) -> float:
    """Return a mean in seconds; 0 if never measured."""
    average = averages.get(key)
    return average.value if average else 0.0


def _is_off(old: int, new: int) -> bool:
    """Whether a part of a cost is off by more than TOLERANCE."""
    return not old / TOLERANCE <= new <= old * TOLERANCE
