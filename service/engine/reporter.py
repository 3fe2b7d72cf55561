"""News: what is told of tasks. Whoever changes something says so here; only what is new is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import Completed, Event, Failed, Finished, Loading, Preview, Progress, Queued

if TYPE_CHECKING:
    from ..models import ModelStatus
    from ..models.model import Array
    from .estimates import Estimates
    from .queue import Queue
    from .task import Row, Task, Ticket

INTERVAL = 0.1  # seconds between two looks at how long the wait is, where nothing else has changed
MIN_CHANGE, MIN_CHANGE_SHARE = (
    0.5,
    0.1,
)  # an estimate is told again when it changed by so many seconds, and by that share


class Reporter:
    """Events that nobody has collected yet. Not safe for threads: the engine's lock guards it."""

    def __init__(self, queue: Queue, estimates: Estimates) -> None:
        self._queue = queue
        self._estimates = estimates
        self._events: list[tuple[Ticket, Event]] = []
        self._next_check = 0.0
        self.changed = False  # somebody came, started or left, or a model did

    def collect(self) -> list[tuple[Ticket, Event]]:
        """Return what was told since the last time, in order."""
        events, self._events = self._events, []
        return events

    def report_positions(self, order: list[Task], now: float) -> None:
        """Those who wait have these places. Told when a position changes, or how long the wait will be by a good deal.

        How long loading takes nobody knows, so no wait is told to who waits for it, or behind such a job.
        """
        if not self.changed and now < self._next_check:
            return
        self.changed, self._next_check = False, now + INTERVAL
        known = True
        for position, (task, wait) in enumerate(zip(order, self._queue.waits(order), strict=False)):
            known = known and not task.awaited
            self._report_position(task, position, wait if known else None)

    def report_admitted(self, task: Task, order: list[Task]) -> None:
        """Tell its position to one who has come; the others hear of it before the next unit."""
        self.changed = True
        ahead = order[: order.index(task)]
        known = not any(other.awaited for other in (*ahead, task))
        self._report_position(task, len(ahead), self._queue.wait(ahead) if known else None)

    def _report_position(self, task: Task, position: int, wait: float | None) -> None:
        if not task.started and (task.position != position or _differ(task.wait, wait)):
            task.position, task.wait = position, wait
            self._emit(task, Queued(position, wait))

    def report_loading(self, task: Task, status: ModelStatus) -> None:
        """The model that `task` waits for is so far."""
        percent = int(100 * status.fraction)
        if status.state.is_loading and task.percent != percent:
            task.percent = percent
            self._emit(task, Loading(task.plan.model, status.fraction))

    def report_progress(self, row: Row, pixels: Array | None) -> None:
        """A row has done a call; `pixels` [3, h, w] is its preview, where one was due."""
        task = row.task
        self._emit(task, Progress(row.index, row.step, task.plan.calls, task.seconds_left(self._estimates)))
        if pixels is not None:
            self._emit(task, Preview(row.index, row.step, row.previews, pixels))
            row.previews += 1

    def report_image(self, row: Row, pixels: Array, now: float) -> None:
        """Report a finished image: pixels [3, h, w]."""
        plan, timings = row.task.plan, row.task.timings(now, row)
        self._emit(row.task, Finished(row.index, row.seed, pixels, timings, plan, plan.revised_prompt))

    def report_end(self, task: Task, event: Completed | Failed) -> None:
        """Nothing follows."""
        self.changed = True
        self._emit(task, event)

    def _emit(self, task: Task, event: Event) -> None:
        self._events.append((task.ticket, event))


def _differ(told: float | None, wait: float | None) -> bool:
    """Whether an estimate in seconds, None while there is none, is news to who was told another."""
    if told is None or wait is None:
        return told is not wait
    return abs(wait - told) > max(MIN_CHANGE, MIN_CHANGE_SHARE * told)
