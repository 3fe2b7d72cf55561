"""Batch widths: the best number of model rows per denoiser call, measured by model and latent shape.

An image with guidance is two model rows, any other is one. Wide calls pay if reading the weights takes most of the
time, because rows share it. On a CPU wide calls are mostly slower, and guidance is faster as two calls than as one.
Each width is therefore tried when enough rows are available, the narrowest first, and the next one only if the last
one paid.

On a GPU a call may take longer if its shape differs from that of the call before, because convolutions are planned
again. Single rows have one shape; the shape of wider calls changes as rows join and leave. Calls after a change are
therefore measured separately, and the cost of a change is weighted by its frequency. Changes of width made here do not
count.

Measurements last as long as the process: they take a few calls, and a file could be from another machine, driver or
onnxruntime.
"""

from __future__ import annotations

from collections import defaultdict, deque
from math import inf
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .plan import BatchKey

WIDTHS = (1, 2, 4, 8)
TRIES = 3  # calls before a width is judged; the first includes warm-up
LATEST = 5  # newest calls that count, separately with and without a change of shape
CHANGE_WINDOW = 32  # newest calls that give the frequency of changes
FORGET_AFTER = 128  # calls of other widths after which one change of a width is forgotten
MIN_GAIN = 1.05  # smallest ratio of rows per second at which a wider call pays


class BatchLimit(NamedTuple):
    """The largest number of images and model rows in one unit of denoising."""

    images: int
    model_rows: int


class _Trials:
    """Seconds per row in calls of one width, separately with the last call's shape and after a change."""

    def __init__(self) -> None:
        self._count = self._other_calls = 0
        self.is_judged = False
        """Whether enough calls were measured to compare this width with others."""
        self.cost = inf
        """Seconds per row: the least time without a change, plus the extra time of changes by their frequency."""
        self._same: deque[float] = deque(maxlen=LATEST)
        self._changed: deque[float] = deque(maxlen=LATEST)
        self._changes: deque[bool] = deque(maxlen=CHANGE_WINDOW)

    def add(self, seconds: float, *, changed: bool | None) -> None:
        """Record a call. `changed` is None if only the width changed, which does not count as a change."""
        self._count += 1
        if self._count > 1 and changed is not None:
            (self._changed if changed else self._same).append(seconds)
            self._changes.append(changed)
            self.cost = self._cost()
        self.is_judged = self._count >= TRIES and self.cost < inf

    def add_other(self) -> None:
        """Record a call of another width. Every FORGET_AFTER of them remove a change: its rows may have left."""
        self._other_calls += 1
        if self._other_calls % FORGET_AFTER == 0 and True in self._changes:
            self._changes.remove(True)
            self.cost = self._cost()

    def _cost(self) -> float:
        """Return `cost`: of the least times, not the means, because other programs slow down some calls."""
        if not (self._same and self._changed):
            return min(self._same or self._changed, default=inf)
        share = sum(self._changes) / CHANGE_WINDOW  # calls not yet made count as unchanged
        return min(self._same) + share * max(min(self._changed) - min(self._same), 0)


class BatchWidths:
    """The widths of one device. `images` is the fixed number of images per call; 0 measures the best width.

    `version` changes with what `limit` and `choose` return.
    """

    def __init__(self, images: int = 0) -> None:
        self.version = 0
        self._images = images
        self._judgements: dict[BatchKey, tuple[int, ...]] = {}
        self._limits: dict[BatchKey, BatchLimit] = {}
        self._trials: defaultdict[BatchKey, dict[int, _Trials]] = defaultdict(lambda: {n: _Trials() for n in WIDTHS})
        self._caps: dict[BatchKey, int] = {}
        self._latest: tuple[BatchKey, int] | None = None  # of the last unit; None if one of its calls was not full

    def limit(self, batch_key: BatchKey) -> BatchLimit:
        """Return the largest useful batch: the best width, or the next one until it is judged."""
        if batch_key not in self._limits:
            self._limits[batch_key] = self._limit(batch_key)
        return self._limits[batch_key]

    def _limit(self, batch_key: BatchKey) -> BatchLimit:
        if self._images:
            rows = self._limited(batch_key, 2 * self._images)
            return BatchLimit(min(self._images, rows), rows)
        best, trials = self.best(batch_key), self._trials[batch_key]
        wider = 2 * best if trials[best].is_judged else best
        rows = self._limited(batch_key, wider if wider in trials and not trials[wider].is_judged else best)
        return BatchLimit(rows, rows)

    def choose(self, batch_key: BatchKey, rows: int) -> int:
        """Return the width for a unit of `rows` model rows: one to try, or the best."""
        if self._images:
            return self.limit(batch_key).model_rows
        trials = self._trials[batch_key]
        most = min(rows, self.limit(batch_key).model_rows)
        untried = (n for n in WIDTHS if n <= most and not trials[n].is_judged)
        return next(untried, self._limited(batch_key, self.best(batch_key)))

    def best(self, batch_key: BatchKey) -> int:
        """Return the width with the most rows per second of those judged; 1 before that."""
        best, *wider = WIDTHS
        trials = self._trials[batch_key]
        for width in wider:
            if not (trials[best].is_judged and trials[width].is_judged):
                break
            if trials[width].cost * MIN_GAIN > trials[best].cost:
                break
            best = width
        return best

    def record(self, batch_key: BatchKey, width: int, rows: int, seconds: float) -> None:
        """Record that `rows` model rows took `seconds` in calls of `width`; partly filled calls are ignored."""
        if self._images:
            return
        full, before = rows % width == 0, self._latest
        self._latest = (batch_key, width) if full else None
        if width in WIDTHS and full:
            width_changed = before is not None and before[0] == batch_key and before[1] != width
            changed = None if width_changed else before != self._latest
            self._trials[batch_key][width].add(seconds / rows, changed=changed)
            for other, trials in self._trials[batch_key].items():
                if other != width:
                    trials.add_other()
            self._judge(batch_key)

    def _judge(self, batch_key: BatchKey) -> None:
        """Change the version if `limit` or `choose` has changed."""
        judged = (width for width, trials in self._trials[batch_key].items() if trials.is_judged)
        judgement = self.best(batch_key), *judged
        if self._judgements.get(batch_key) != judgement:
            self._judgements[batch_key] = judgement
            self._change(batch_key)

    def _change(self, batch_key: BatchKey) -> None:
        self.version += 1
        self._limits.pop(batch_key, None)

    def shrink(self, batch_key: BatchKey, width: int) -> bool:
        """Halve the width after a call of `width` rows ran out of memory; return False if it was 1."""
        if width > 1:
            self._caps[batch_key] = width // 2
            self._change(batch_key)
        return width > 1

    def _limited(self, batch_key: BatchKey, rows: int) -> int:
        """Return `rows`, or the width that memory allows if it is smaller."""
        return min(rows, self._caps.get(batch_key, rows))
