"""Widths: how many rows one call of the denoiser takes at best, measured by model and shape of latents.

The model sees two rows of a picture with guidance, and one of any other. Wide calls pay where rows share the reading of
the weights; on a CPU they mostly cost, and guidance takes less time as two calls than as one. So each width is tried
when enough rows are at hand, the narrowest first, and the next one only if the last one paid.

What was learnt is kept as long as the process lives: it takes a few calls to learn, and a file could be about another
machine, driver or onnxruntime.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .stats import Kind

WIDTHS = (1, 2, 4, 8)
TRIES = 3  # before a width is judged; the first holds the warming up
LATEST = 5  # tries that count
GAIN = 1.05  # a wider call pays when it makes so many times the rows per second


class Room(NamedTuple):
    """What one unit of denoising may hold at most."""

    pictures: int
    rows: int


class _Trials:
    """What calls of one width took: seconds for each row."""

    def __init__(self) -> None:
        self._count = 0
        self._latest: deque[float] = deque(maxlen=LATEST)

    def add(self, seconds: float) -> None:
        self._count += 1
        if self._count > 1:
            self._latest.append(seconds)

    @property
    def enough(self) -> bool:
        return self._count >= TRIES

    @property
    def best(self) -> float:
        """The least, which other programs on the machine disturb least."""
        return min(self._latest)


class Widths:
    """The widths of one device; `pictures` to a call are set by its owner, or 0 for what pays."""

    def __init__(self, pictures: int = 0) -> None:
        self._pictures = pictures
        self._trials: defaultdict[Kind, dict[int, _Trials]] = defaultdict(lambda: {n: _Trials() for n in WIDTHS})
        self._caps: dict[Kind, int] = {}

    def room(self, kind: Kind) -> Room:
        """Return what may be worth a call: the best width, or the next one while that was not tried."""
        if self._pictures:
            rows = self._capped(kind, 2 * self._pictures)
            return Room(min(self._pictures, rows), rows)
        best, trials = self.best(kind), self._trials[kind]
        wider = 2 * best if trials[best].enough else best
        rows = self._capped(kind, wider if wider in trials and not trials[wider].enough else best)
        return Room(rows, rows)

    def choose(self, kind: Kind, rows: int) -> int:
        """Return the width for a unit of so many rows: one to try, or the best."""
        if self._pictures:
            return self.room(kind).rows
        tried = self._trials[kind]
        within = min(rows, self.room(kind).rows)
        return next((n for n in WIDTHS if n <= within and not tried[n].enough), self._capped(kind, self.best(kind)))

    def best(self, kind: Kind) -> int:
        """Return the width that makes the most rows per second, of those tried; the narrowest before that."""
        best, *wider = WIDTHS
        trials = self._trials[kind]
        for width in wider:
            if not (trials[best].enough and trials[width].enough) or trials[width].best * GAIN > trials[best].best:
                break
            best = width
        return best

    def note(self, kind: Kind, width: int, rows: int, seconds: float) -> None:
        """Take a measurement: `rows` took `seconds` in calls of `width`; calls that were not full say nothing."""
        if width in WIDTHS and rows % width == 0:
            self._trials[kind][width].add(seconds / rows)

    def shrink(self, kind: Kind, rows: int) -> bool:
        """Halve the calls from now on, for there was no memory for those of `rows`; False where they held but one."""
        width = min(self.choose(kind, rows), rows)
        if width > 1:
            self._caps[kind] = width // 2
        return width > 1

    def _capped(self, kind: Kind, rows: int) -> int:
        return min(rows, self._caps.get(kind, rows))
