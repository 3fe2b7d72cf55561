"""Several ways to compute the same: their times in turns, and how far apart their results are."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tintype.service.models.runtime.graph import Values

    from .context import Context

    Feeds = Mapping[str, Values]
    Call = Callable[[Feeds], Values]

WARM_UP = 3  # calls after the first: CUDA graphs are captured in the second and checked in the third
SHARE = 0.25  # of the time left that one series of turns may take


class Way(NamedTuple):
    """A way to compute; `make` returns the function for a call. `seconds` is how long making it may take."""

    name: str
    make: Callable[[], Call]
    seconds: float = 5.0


class Turns:
    """Ways over the same arrays. The first way is what others are compared with.

    With `together` all ways stay open and take turns. Otherwise each is measured alone and closed, because the device's
    memory holds only one.
    """

    def __init__(self, context: Context, subject: str, feeds: Feeds, *, together: bool = True) -> None:
        self._context, self._subject, self._feeds, self._together = context, subject, feeds, together
        self._open: dict[str, Call] = {}
        self._ready: dict[str, float] = {}
        self._results: dict[str, Any] = {}
        self._notes: dict[str, str] = {}
        self._base = 0.0

    def compare(self, ways: Sequence[Way]) -> None:
        """Open and measure ways; what is open is measured before a way that takes long to open."""
        for way in ways:
            if way.seconds > self._context.left():
                self._fail(way, f"not run: {self._context.left():.0f} s were left")
                continue
            if len(self._open) > 1 and way.seconds > 20:
                self._measure()
            self._enter(way)
            if not self._together:
                self._measure()
                self._open.clear()
        self._measure()

    def _enter(self, way: Way) -> None:
        """Open a way; its first results must be equal, or its record says so."""
        began = time.perf_counter()
        try:
            call = way.make()
            first = call(self._feeds)
            self._ready[way.name] = time.perf_counter() - began
            others = [call(self._feeds) for _ in range(WARM_UP)]
        except Exception as error:  # noqa: BLE001 - the others go on
            self._fail(way, " ".join(f"{type(error).__name__}: {error}".split())[:500])
            return
        self._results[way.name] = np.asarray(others[-1], np.float32)
        if not all(np.array_equal(first, other) for other in others):
            self._notes[way.name] = "repeated calls differ"
        self._open[way.name] = call

    def _fail(self, way: Way, problem: str) -> None:
        self._context.add(self._subject, way.name, problem=problem)

    def _measure(self) -> None:
        spent = in_turns(self._open, self._feeds, self._context.rounds, SHARE * self._context.left())
        medians = {name: statistics.median(seconds) for name, seconds in spent.items()}
        first_way = next(iter(self._results), "")
        self._base = medians.get(first_way, self._base)
        for name, middle in medians.items():
            note = {"note": self._notes[name]} if name in self._notes else {}
            self._context.add(
                self._subject,
                name,
                ms=1000 * middle,
                ratio=middle / self._base,
                difference=apart(self._results[name], self._results[first_way]),
                ready_s=self._ready[name],
                **note,
            )


def in_turns(calls: Mapping[str, Call], feeds: Feeds, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return the seconds of each call by way. Each round begins with another way; time permitting, all rounds run."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    names, began = [*calls], time.perf_counter()
    for turn in range(rounds):
        for name in names[turn % max(len(names), 1) :] + names[: turn % max(len(names), 1)]:
            start = time.perf_counter()
            calls[name](feeds)
            spent[name].append(time.perf_counter() - start)
        if time.perf_counter() - began > seconds:
            break
    return spent


def apart(result: Any, other: Any) -> float:
    """Return the largest difference, relative to the largest value of the other; infinite if a number is not finite."""
    one, two = np.asarray(result, np.float32), np.asarray(other, np.float32)
    found = float(np.abs(one - two).max() / max(float(np.abs(two).max()), 1e-30))
    return found if np.isfinite(found) else float("inf")
