"""Live tasks from admission to their last event, and whether each one's model is loaded, loading or failed.

Every admitted task ends with exactly one Completed or Failed. A task holds its model from its first unit on, and before
that during the model's grace period (see `load_grace`).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, TypeAlias

from ..errors import DeadlineExceeded, TintypeError
from ..models import ModelState
from .events import Completed, Failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..models import Model, ModelStatus, Repository
    from .load_grace import LoadGrace
    from .queue import Queue
    from .reporter import Reporter
    from .task import Row, Task, Ticket

ModelOrError: TypeAlias = "Model | TintypeError | None"


class LiveTasks:
    """Live tasks by ticket. Not thread-safe: callers hold the engine's lock."""

    def __init__(self, repository: Repository, queue: Queue, reporter: Reporter, grace: LoadGrace) -> None:
        self._repository, self._queue, self._reporter, self._grace = repository, queue, reporter, grace
        self._tasks: dict[Ticket, Task] = {}
        self._ended: list[Task] = []

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def admit(self, task: Task) -> None:
        """Admit `task` and request its model. Raises the errors of `Queue.add` and of the repository."""
        self._queue.add(task, task.arrived)
        try:
            self._repository.load(task.plan.model, pinned=False)  # tries a failed model again
            self._update_state(task)
        except BaseException:  # also OSError of a disk: a task in the queue alone would never end
            self._queue.remove(task)
            raise
        self._tasks[task.ticket] = task
        self._reporter.report_admitted(task, self._queue.ordered(task.arrived))

    def find(self, ticket: Ticket) -> Task | None:
        """Return the task of `ticket`; None if it has ended."""
        return self._tasks.get(ticket)

    def has(self, row: Row) -> bool:
        """Whether the task of `row` has not ended."""
        return row.task.ticket in self._tasks

    def start(self, rows: Iterable[Row]) -> None:
        """Start the tasks of `rows`, which the next unit runs."""
        for task in {row.task: None for row in rows}:
            self._reporter.changed = self._reporter.changed or not task.started
            task.started = True
            self._grace.note_use(task.plan.model)
            self._hold(task, hold=True)

    def end(self, task: Task, event: Completed | Failed) -> None:
        """End `task` with its last event. Its hold is released between two units, since one may be using it now."""
        del self._tasks[task.ticket]
        self._queue.remove(task)
        self._ended.append(task)
        self._reporter.report_end(task, event)

    def release_ended(self) -> None:
        """Release models and arrays of ended tasks (device thread only)."""
        for task in self._ended:
            self._hold(task, hold=False)
            task.release()
        self._ended.clear()

    def fail_expired(self, now: float) -> None:
        """Fail every task whose deadline has passed."""
        for task in self._queue:
            if task.deadline is not None and now >= task.deadline:
                seconds = now - task.arrived
                self.end(task, Failed(DeadlineExceeded(f"not done within {seconds:.3g} s of arrival")))

    def hold_in_grace(self, now: float) -> None:
        """Hold models in their grace period for waiting tasks, unless a more urgent task waits for memory."""
        top = max((task.priority for task in self._queue if task.waiting), default=-inf)
        held = {task.plan.model for task in (*self._queue, *self._ended) if task.holds}
        for task in self._queue:
            if not task.started:
                lasts = self._grace.is_active(task.plan.model, now) and task.priority >= top
                self._hold(task, hold=lasts and task.plan.model in held)

    def _hold(self, task: Task, *, hold: bool) -> None:
        if task.holds is not hold:
            task.holds = hold
            (self._repository.hold if hold else self._repository.release)(task.plan.model)

    def assign_models(self, now: float) -> None:
        """Give tasks that have not started their models; a model that was evicted starts to load again."""
        urgent = self._queue.most_urgent(now)
        self._repository.set_demand(*({task.plan.model for task in tasks} for tasks in (self._queue, urgent)))
        for task, found in self._looked_up():
            if isinstance(found, TintypeError):
                self.end(task, Failed(found))
                continue
            self._reporter.changed = self._reporter.changed or (task.model is None) is not (found is None)
            task.model, task.waiting = found, False
            if found is None:
                self._wait(task, now)
            else:
                self._grace.note_loaded(task.plan.model, now)
            task.fresh = found is not None and self._grace.is_unused(task.plan.model) and task in urgent

    def _wait(self, task: Task, now: float) -> None:
        status = self._update_state(task)
        self._reporter.report_loading(task, status)
        if not task.waiting:
            self._grace.note_loading(task.plan.model, now)

    def _update_state(self, task: Task) -> ModelStatus:
        """Update whether its model is loading or waits for memory."""
        status = self._repository.status(task.plan.model)
        task.loading, task.waiting = status.state.is_loading, status.state is ModelState.WAITING
        return status

    def _looked_up(self) -> Iterator[tuple[Task, ModelOrError]]:
        found: dict[str, ModelOrError] = {}
        for task in self._queue:
            if not task.started:
                name = task.plan.model
                if name not in found:
                    found[name] = self._find(name)
                yield task, found[name]

    def _find(self, name: str) -> ModelOrError:
        try:
            return self._repository.get(name)
        except TintypeError as error:
            return error
