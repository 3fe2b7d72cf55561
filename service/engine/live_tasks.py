"""Live tasks from admission to their last event.

Every admitted task ends with exactly one Completed or Failed. Its lease says whether its model is in memory, and
whether the task holds it (see `models.residency.leases`).
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from ..errors import DeadlineExceeded
from ..metrics.observer import IGNORE
from ..models.residency.leases import Leases
from .events import Completed, Failed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..metrics.observer import Observer
    from ..models import Repository
    from .plan import Ticket
    from .queue import Queue
    from .reporter import Reporter
    from .task import Row, Task


class LiveTasks:
    """Live tasks by ticket. Not thread-safe: callers hold the engine's lock.

    `longest_residency` is the longest minimum residency of a model, in seconds (see `load_grace`).
    """

    def __init__(
        self,
        repository: Repository,
        queue: Queue,
        reporter: Reporter,
        longest_residency: float,
        observer: Observer = IGNORE,
    ) -> None:
        self._queue, self._reporter, self._observer = queue, reporter, observer
        self._leases = Leases(repository, longest_residency)
        self._tasks: dict[Ticket, Task] = {}
        self._ended: list[Task] = []
        self._next_check = -inf  # when the next deadline passes, or the next task gains a priority level

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def admit(self, task: Task) -> None:
        """Admit `task` and request its model. Raises the errors of `Queue.add` and of `Leases.open`."""
        self._queue.add(task, task.arrived)
        try:
            self._leases.open(task.lease)
        except BaseException:  # includes OSError of a disk: a task that is only in the queue would never end
            self._queue.remove(task)
            raise
        self._tasks[task.ticket] = task
        self._queue.reorder()  # the lease may wait for its model
        self._reporter.report_admitted(task, self._queue.ordered(task.arrived))

    def find(self, ticket: Ticket) -> Task | None:
        """Return the task of `ticket`; None if it has ended."""
        return self._tasks.get(ticket)

    def has(self, row: Row) -> bool:
        """Whether the task of `row` has not ended."""
        return row.task.ticket in self._tasks

    def start(self, rows: Iterable[Row], now: float) -> None:
        """Start the tasks of `rows`, the rows of the next unit: they hold their models from now on."""
        for task in {row.task: None for row in rows}:
            if not task.started:
                self._observer.started(task.plan.model, now - task.arrived)
                task.record("queue", now - task.arrived, now)
                self._reporter.changed = True
                self._queue.reorder()
            self._leases.use(task.lease)

    def end(self, task: Task, event: Completed | Failed) -> None:
        """End `task` with its last event. Its arrays and hold are released between two units: one may use them now."""
        del self._tasks[task.ticket]
        self._queue.remove(task)
        self._leases.end(task.lease)
        self._ended.append(task)
        if isinstance(event, Failed):
            event = replace(event, stages=task.all_stages)
        self._reporter.report_end(task, event)
        self._observer.ended(task.plan.model, event.error.reason if isinstance(event, Failed) else "")

    def update(self, now: float) -> None:
        """Fail expired tasks, and update models and the order of tasks (device thread only), between two units.

        Does nothing while no task comes, starts, ends or gains a priority level, no deadline or minimum residency ends,
        and no model changes.
        """
        if now < self._next_check and self._leases.is_current(now):
            return
        self._fail_expired(now)
        self._update_models(now)
        self._queue.reorder()
        self._next_check = self._queue.next_check(now)

    def _fail_expired(self, now: float) -> None:
        """Fail every task whose deadline has passed."""
        for task in self._queue:
            if task.deadline is not None and now >= task.deadline:
                seconds = now - task.arrived
                self.end(task, Failed(DeadlineExceeded(f"not done within {seconds:.3g} s of arrival")))

    def _update_models(self, now: float) -> None:
        """Release the arrays and models of ended tasks, and look up the models of waiting tasks.

        Tasks whose model cannot be loaded fail; a model that was evicted starts to load again.
        """
        for task in self._ended:
            task.drop_arrays()
        self._ended.clear()
        urgent = {task.lease for task in self._queue.most_urgent(now)}
        if self._leases.update(urgent, now):
            self._reporter.changed = True
        for task in self._queue:
            task.record_load(now)
            if task.lease.error:
                self.end(task, Failed(task.lease.error))
            elif task.lease.status:
                self._reporter.report_loading(task, task.lease.status)
