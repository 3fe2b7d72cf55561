"""Batch widths: how many rows one call of the denoiser takes at best, measured by model and shape of latents.

The model sees two rows of an image with guidance, and one of any other. Wide calls pay where rows share the reading of
the weights; on a CPU they mostly cost, and guidance takes less time as two calls than as one. So each width is tried
when enough rows are at hand, the narrowest first, and the next one only if the last one paid.

On a GPU a call of another shape than the last one's may cost more: convolutions are planned again. One row at a time
has one shape; wider calls change theirs as rows join and leave. So calls after a change are measured apart, and the
cost of a change counts as often as it comes. Changes of width that are made here are not counted.

What was learnt is kept as long as the process lives: it takes a few calls to learn, and a file could be about another
machine, driver or onnxruntime.
"""

from __future__ import annotations

from collections import defaultdict, deque
from math import inf
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .plan import BatchKey

WIDTHS = (1, 2, 4, 8)
TRIES = 3  # before a width is judged; the first holds the warming up
LATEST = 5  # tries that count, changed or not
OFTEN = 32  # tries that say how often the shape changes
REST = 128  # calls of other widths after which a width forgets one change
GAIN = 1.05  # a wider call pays when it makes so many times the rows per second


class BatchLimit(NamedTuple):
    """What one unit of denoising may hold at most."""

    images: int
    model_rows: int


class _Trials:
    """Seconds for each row of calls of one width.

    Those of the last call's shape are kept apart from those after others.
    """

    def __init__(self) -> None:
        self._count = self._rests = 0
        self._same: deque[float] = deque(maxlen=LATEST)
        self._changed: deque[float] = deque(maxlen=LATEST)
        self._changes: deque[bool] = deque(maxlen=OFTEN)

    def add(self, seconds: float, *, changed: bool | None) -> None:
        """Record a try.

        `changed` is None where only the width changed: it then counts as a try and says nothing of changes.
        """
        self._count += 1
        if self._count > 1 and changed is not None:
            (self._changed if changed else self._same).append(seconds)
            self._changes.append(changed)

    def rest(self) -> None:
        """Forget a change after many calls of other widths.

        The rows that caused them may have gone.
        """
        self._rests += 1
        if self._rests % REST == 0 and True in self._changes:
            self._changes.remove(True)

    @property
    def enough(self) -> bool:
        return self._count >= TRIES and bool(self._same or self._changed)

    @property
    def cost(self) -> float:
        """The least time changed or not, weighted by frequency.

        Other programs on the machine disturb the least time least.
        """
        if not (self._same and self._changed):
            return min(self._same or self._changed, default=inf)
        share = sum(self._changes) / OFTEN  # few tries say little: what is not known is no change
        return min(self._same) + share * max(min(self._changed) - min(self._same), 0)


class BatchWidths:
    """The widths of one device; `images` to a call are set by its owner, or 0 for what pays."""

    def __init__(self, images: int = 0) -> None:
        self._images = images
        self._trials: defaultdict[BatchKey, dict[int, _Trials]] = defaultdict(lambda: {n: _Trials() for n in WIDTHS})
        self._caps: dict[BatchKey, int] = {}
        self._latest: tuple[BatchKey, int] | None = None  # what the last call was of; None where its calls differed

    def limit(self, batch_key: BatchKey) -> BatchLimit:
        """Return what may be worth a call: the best width, or the next one while that was not tried."""
        if self._images:
            rows = self._capped(batch_key, 2 * self._images)
            return BatchLimit(min(self._images, rows), rows)
        best, trials = self.best(batch_key), self._trials[batch_key]
        wider = 2 * best if trials[best].enough else best
        rows = self._capped(batch_key, wider if wider in trials and not trials[wider].enough else best)
        return BatchLimit(rows, rows)

    def choose(self, batch_key: BatchKey, rows: int) -> int:
        """Return the width for a unit of so many rows: one to try, or the best."""
        if self._images:
            return self.limit(batch_key).model_rows
        tried = self._trials[batch_key]
        within = min(rows, self.limit(batch_key).model_rows)
        return next(
            (n for n in WIDTHS if n <= within and not tried[n].enough), self._capped(batch_key, self.best(batch_key))
        )

    def best(self, batch_key: BatchKey) -> int:
        """Return the width that makes the most rows per second, of those tried; the narrowest before that."""
        best, *wider = WIDTHS
        trials = self._trials[batch_key]
        for width in wider:
            if not (trials[best].enough and trials[width].enough) or trials[width].cost * GAIN > trials[best].cost:
                break
            best = width
        return best

    def record(self, batch_key: BatchKey, width: int, rows: int, seconds: float) -> None:
        """Take a measurement: `rows` took `seconds` in calls of `width`; calls that were not full say nothing."""
        full, before = rows % width == 0, self._latest
        self._latest = (batch_key, width) if full else None
        if width in WIDTHS and full:
            own = before is not None and before[0] == batch_key and before[1] != width
            self._trials[batch_key][width].add(seconds / rows, changed=None if own else before != self._latest)
            for other, trials in self._trials[batch_key].items():
                if other != width:
                    trials.rest()

    def shrink(self, batch_key: BatchKey, width: int) -> bool:
        """Halve the width after a call of `width` rows ran out of memory; return False if it was 1."""
        if width > 1:
            self._caps[batch_key] = width // 2
        return width > 1

    def _capped(self, batch_key: BatchKey, rows: int) -> int:
        return min(rows, self._caps.get(batch_key, rows))
