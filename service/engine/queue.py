"""The queue of accepted tasks, and admission control.

A task stays in the queue until it ends, so any other task may run between two of its steps. Admission checks three
things: free capacity, whether the task can meet its deadline on an idle engine, and whether it can meet it behind the
tasks that run first.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from ..errors import DeadlineExceeded, QueueFull
from ..models.residency.leases import LeaseState
from . import policy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from .estimates import Estimates
    from .task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one engine.

    Attributes:
        queue: largest number of waiting tasks.
        max_batch: images per denoiser call; 0 measures the best number, see `batch_width`.
        patience: seconds of waiting after which a task gains one priority level, and the longest minimum residency of
            a loaded model, see `models.residency.load_grace`.
    """

    queue: int = 64
    max_batch: int = 0
    patience: float = 10.0

    def __post_init__(self) -> None:
        if self.queue < 1:
            raise ValueError(f"--queue must be at least 1; got {self.queue}")
        if self.max_batch < 0:
            raise ValueError(f"--max-batch must be at least 0; got {self.max_batch}")
        if self.patience <= 0:
            raise ValueError(f"patience must be above 0 seconds; got {self.patience}")


class Queue:
    """Tasks that were accepted and have not ended. Not thread-safe: callers hold the engine's lock."""

    def __init__(self, limits: Limits, estimates: Estimates) -> None:
        self._limits = limits
        self._estimates = estimates
        self._version = estimates.version
        self._fair_queue = policy.FairQueue()
        self._tasks: dict[int, Task] = {}
        self._order: list[Task] | None = None  # None: to be computed
        self._leaders: Collection[Task] = ()
        self._until = -inf  # when the next task gains a priority level

    def __iter__(self) -> Iterator[Task]:
        return iter(list(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task, now: float) -> None:
        """Admit `task`.

        Raises:
            QueueFull: the queue is full, or earlier tasks leave no time to meet the deadline; carries `retry_after`.
            DeadlineExceeded: the task cannot meet its deadline even on an idle engine.
        """
        self._check_room(now)
        self._insert(task)
        try:
            self._check_deadline(task, now)
        except BaseException:
            self.remove(task)
            raise

    def remove(self, task: Task) -> None:
        """Remove an ended task."""
        del self._tasks[task.number]
        self._fair_queue.remove(task.caller)
        self.reorder()

    def charge(self, task: Task, work: int) -> None:
        """Charge `work`, in microseconds of its cost, to the caller of `task`."""
        self._fair_queue.charge(task.caller, work)
        if task not in self._leaders:
            self.reorder()

    def reorder(self) -> None:
        """Compute the order anew when it is next needed: a task, or the lease of one, has changed."""
        self._order = None

    def ordered(self, now: float) -> list[Task]:
        """Return all tasks in scheduling order: the same list as the last time, while nothing it depends on changes.

        It depends on the tasks, their leases, costs and priority levels, and on the work done for their callers.
        """
        if self._version != self._estimates.version:
            self._version = self._estimates.version
            self.reorder()
            for task in self:
                task.cost = self._estimates.cost(task.plan)
        if self._order is None or now >= self._until:
            tasks, patience = list(self._tasks.values()), self._limits.patience
            self._order = policy.order(tasks, self._fair_queue, now=now, patience=patience)
            self._leaders = policy.leaders(tasks, now=now, patience=patience)
            self._until = policy.next_climb(tasks, now=now, patience=patience)
        return self._order

    def next_check(self, now: float) -> float:
        """Return the time of the next deadline, or of the next task that gains a priority level; infinity for none."""
        deadlines = (task.deadline for task in self._tasks.values() if task.deadline is not None)
        climb = policy.next_climb(list(self._tasks.values()), now=now, patience=self._limits.patience)
        return min(climb, *deadlines, inf)

    def most_urgent(self, now: float) -> set[Task]:
        """Return tasks at least as urgent as every task waiting for memory; all tasks if none waits."""
        tasks = list(self._tasks.values())
        if not any(task.state is LeaseState.WAITING for task in tasks):
            return set(tasks)
        levels = policy.levels(tasks, now=now, patience=self._limits.patience)
        top = max(level for task, level in zip(tasks, levels, strict=True) if task.state is LeaseState.WAITING)
        return {task for task, level in zip(tasks, levels, strict=True) if level >= top}

    def wait(self, ahead: Sequence[Task]) -> float | None:
        """Estimate seconds until all tasks in `ahead` are done; None if one has no measured estimate."""
        return list(self.waits(ahead))[-1]

    def waits(self, order: Sequence[Task]) -> Iterator[float | None]:
        """Yield `wait` for no task, for the first task of `order`, for the first two, and so on."""
        total: float | None = 0.0
        yield total
        seconds: dict[object, float | None] = {}
        for task in order:
            key = task if task.started else task.cost_class
            if key not in seconds:
                seconds[key] = task.seconds_left(self._estimates)
            left = seconds[key]
            total = None if total is None or left is None else total + left
            yield total

    def _insert(self, task: Task) -> None:
        self.reorder()
        self._tasks[task.number] = task
        task.served_before = self._fair_queue.add(task.caller)

    def _check_room(self, now: float) -> None:
        waiting = sum(not task.started for task in self._tasks.values())
        if waiting < self._limits.queue:
            return
        order = self.ordered(now)
        first = next(i for i, task in enumerate(order) if not task.started)
        delay = None if order[first].state.awaits_model else self.wait(order[:first])
        raise QueueFull(f"queue full: {waiting} requests are waiting", retry_after=delay)

    def _check_deadline(self, task: Task, now: float) -> None:
        if task.deadline is None:
            return
        left, needed = task.deadline - now, task.seconds_left(self._estimates) or 0.0
        confident = needed * self._estimates.confidence(task.batch_key, now)
        if left <= confident:
            raise DeadlineExceeded(f"needs about {needed:.3g} s, but the deadline is in {max(left, 0):.3g} s")
        order = self.ordered(now)
        wait = self.wait(order[: order.index(task)]) or 0.0
        if left <= wait + confident:
            raise QueueFull(
                f"would finish in about {wait + needed:.3g} s, but the deadline is in {left:.3g} s",
                retry_after=wait + needed - left,
            )
