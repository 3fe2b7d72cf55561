"""The roster: who lives, from the door to the end; whose model is there, on its way, or can't be had.

A task that is in ends in exactly one Completed or Failed. From its first unit on it keeps its model, whatever becomes
of the model in the repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ..errors import DeadlineExceeded, TintypeError
from .events import Completed, Failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..models import Model, Repository
    from .news import News
    from .queue import Queue
    from .row import Row
    from .task import Task, Ticket

Found: TypeAlias = "Model | TintypeError | None"


class Roster:
    """The living tasks by their tickets. Not safe for threads: the engine's lock guards it."""

    def __init__(self, repository: Repository, queue: Queue, news: News) -> None:
        self._repository, self._queue, self._news = repository, queue, news
        self._tasks: dict[Ticket, Task] = {}
        self._left: list[Task] = []

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def take(self, task: Task) -> None:
        """Let `task` in. Raises what the queue's door raises, and what asking for its model does."""
        self._queue.enter(task, task.arrived)
        try:
            self._repository.load(task.plan.model)  # tries again what has failed before
        except TintypeError:
            self._queue.leave(task)
            raise
        self._tasks[task.ticket] = task
        self._news.places(self._queue.ordered(task.arrived))

    def find(self, ticket: Ticket) -> Task | None:
        """Return the task, unless it has ended."""
        return self._tasks.get(ticket)

    def has(self, row: Row) -> bool:
        """Whether somebody still wants `row`."""
        return row.task.ticket in self._tasks

    def start(self, rows: Iterable[Row]) -> None:
        """Say that the next unit is for `rows`."""
        for task in {row.task: None for row in rows}:
            if not task.started:
                task.started = True
                self._repository.hold(task.plan.model)

    def end(self, task: Task, event: Completed | Failed) -> None:
        """Tell the last of `task`. What it holds is let go between two units: one may be using it right now."""
        del self._tasks[task.ticket]
        self._queue.leave(task)
        self._left.append(task)
        self._news.ended(task, event)

    def let_go(self) -> None:
        """Free what those held who have ended, in the device thread."""
        for task in self._left:
            if task.started:
                self._repository.release(task.plan.model)
            task.let_go()
        self._left.clear()

    def expire(self, now: float) -> None:
        """End whose deadline has passed."""
        for task in self._queue:
            if task.deadline is not None and now >= task.deadline:
                seconds = now - task.arrived
                self.end(task, Failed(DeadlineExceeded(f"not done within {seconds:.3g} s of its arrival")))

    def relieve(self, task: Task) -> bool:
        """Drop all models that are idle, because there was no memory for `task`; False if there was nothing to drop."""
        first, task.relieved = not task.relieved, True
        return first and self._repository.relieve(task.plan.model)

    def look_for_models(self) -> None:
        """Give those who have not started their models; a model that was dropped meanwhile begins to load again."""
        for task, found in self._looked_up():
            if isinstance(found, TintypeError):
                self.end(task, Failed(found))
                continue
            task.model, task.waiting = found, False
            if found is None:
                status = self._repository.status(task.plan.model)
                task.waiting = status.waiting
                self._news.loading(task, status)

    def _looked_up(self) -> Iterator[tuple[Task, Found]]:
        found: dict[str, Found] = {}
        for task in self._queue:
            if not task.started:
                name = task.plan.model
                if name not in found:
                    found[name] = self._find(name)
                yield task, found[name]

    def _find(self, name: str) -> Found:
        try:
            return self._repository.get(name)
        except TintypeError as error:
            return error
