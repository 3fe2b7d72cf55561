"""Collects the events of tasks. Positions and estimates are reported only when they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import Completed, Event, Failed, Finished, Loading, Preview, Progress, Queued

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..images.pixels import Pixels
    from ..models import ModelStatus
    from ..models.model import Array
    from .estimates import Estimates
    from .plan import Ticket
    from .queue import Queue
    from .task import Row, Task

INTERVAL = 0.1  # seconds between two checks of waiting times while nothing else changes
MIN_CHANGE = 0.5  # seconds by which an estimate must change to be reported again
MIN_RELATIVE_CHANGE = 0.1  # and the share of the last estimate by which it must change


class Reporter:
    """Events that were not collected yet. Not thread-safe: callers hold the engine's lock."""

    def __init__(self, queue: Queue, estimates: Estimates) -> None:
        self._queue = queue
        self._estimates = estimates
        self._events: list[tuple[Ticket, Event]] = []
        self._next_check = 0.0
        self.changed = False  # a task was admitted, started or ended, or a model was loaded or evicted

    def collect(self) -> list[tuple[Ticket, Event]]:
        """Return the events since the last call, in order."""
        events, self._events = self._events, []
        return events

    def report_positions(self, order: list[Task], now: float) -> None:
        """Report positions in `order` to waiting tasks, if the position or the estimated wait has changed.

        Load times are not estimated: a task that waits for a model to load, or behind one that does, gets no estimate.
        """
        if not self.changed and now < self._next_check:
            return
        self.changed, self._next_check = False, now + INTERVAL
        known = True
        for position, (task, wait) in enumerate(zip(order, self._queue.waits(order), strict=False)):
            known = known and not task.state.awaits_model
            self._report_position(task, position, wait if known else None)

    def report_admitted(self, task: Task, order: list[Task]) -> None:
        """Report the position of an admitted task; other tasks get their new positions before the next unit."""
        self.changed = True
        ahead = order[: order.index(task)]
        known = not any(other.state.awaits_model for other in (*ahead, task))
        self._report_position(task, len(ahead), self._queue.wait(ahead) if known else None)

    def _report_position(self, task: Task, position: int, wait: float | None) -> None:
        if not task.started and (task.position != position or _differ(task.wait, wait)):
            task.position, task.wait = position, wait
            self._emit(task, Queued(position, wait))

    def report_loading(self, task: Task, status: ModelStatus) -> None:
        """Report the loading progress of the model that `task` waits for, in whole percent."""
        percent = int(100 * status.fraction)
        if status.state.is_loading and task.percent != percent:
            task.percent = percent
            self._emit(task, Loading(task.plan.model, status.fraction))

    def report_progress(self, rows: Iterable[tuple[Row, Array | None]]) -> None:
        """Report a denoiser call of rows, if their job requests it, and previews, pixels [3, h, w], that were due."""
        left: dict[Task, float | None] = {}
        for row, pixels in rows:
            task, step = row.task, row.step
            if task.ticket.job.progress:
                if task not in left:
                    left[task] = task.seconds_left(self._estimates)
                self._emit(task, Progress(row.index, step, task.calls, left[task]))
            if pixels is not None:
                self._emit(task, Preview(row.index, step, row.previews, pixels))
                row.previews += 1

    def report_image(self, row: Row, pixels: Pixels, now: float) -> None:
        """Report a finished image: pixels [3, h, w]."""
        plan, timings = row.task.plan, row.task.timings(now, row)
        self._emit(row.task, Finished(row.index, row.seed, pixels, timings, plan, plan.revised_prompt))

    def report_end(self, task: Task, event: Completed | Failed) -> None:
        """Report the last event of `task`."""
        self.changed = True
        self._emit(task, event)

    def _emit(self, task: Task, event: Event) -> None:
        self._events.append((task.ticket, event))


def _differ(last: float | None, wait: float | None) -> bool:
    """Whether an estimate in seconds, or None, differs enough from the last one reported."""
    if last is None or wait is None:
        return last is not wait
    return abs(wait - last) > max(MIN_CHANGE, MIN_RELATIVE_CHANGE * last)
