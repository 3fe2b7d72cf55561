"""The queue: every task that was accepted and has not ended, and the door through which it came.

A task that runs stays in it: between two steps any other may go first. At the door three things are judged: whether
there is room, whether it can be done by its deadline at all, and whether it can be done behind those who go first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import DeadlineExceeded, QueueFull
from . import policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .estimates import Estimates
    from .task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`queue` jobs may wait; `max_batch` images share a call (0: what pays, see `widths`).

    A job climbs one level of priority after every `patience` seconds of waiting; nor does it wait longer for memory
    that a model keeps for its turn.
    """

    queue: int = 64
    max_batch: int = 0
    patience: float = 10.0

    def __post_init__(self) -> None:
        if self.queue < 1:
            raise ValueError(f"--queue must be at least 1, not {self.queue}")
        if self.max_batch < 0:
            raise ValueError(f"--max-batch must be at least 0, not {self.max_batch}")
        if self.patience <= 0:
            raise ValueError(f"patience must be above 0 seconds, not {self.patience}")


class Queue:
    """The living tasks. Not safe for threads: the engine's lock guards it."""

    def __init__(self, limits: Limits, estimates: Estimates) -> None:
        self._limits = limits
        self._estimates = estimates
        self._version = estimates.version
        self._fair_queue = policy.FairQueue()
        self._tasks: dict[int, Task] = {}

    def __iter__(self) -> Iterator[Task]:
        return iter(list(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task, now: float) -> None:
        """Take `task` in.

        Raises:
            QueueFull: too many wait, or too many go first for its deadline; says when to come back.
            DeadlineExceeded: it can't be done by its deadline, however empty the queue.
        """
        self._check_room(now)
        self._insert(task)
        try:
            self._check_deadline(task, now)
        except BaseException:
            self.remove(task)
            raise

    def remove(self, task: Task) -> None:
        """Let `task` go."""
        del self._tasks[task.number]
        self._fair_queue.remove(task.caller)

    def charge(self, task: Task, work: int) -> None:
        """Note that `work` microseconds, by its cost, were done for `task`."""
        self._fair_queue.charge(task.caller, work)

    def ordered(self, now: float) -> list[Task]:
        """Return the tasks, first who goes first."""
        if self._version != self._estimates.version:
            self._version = self._estimates.version
            for task in self:
                task.cost = self._estimates.cost(task.plan)
        return policy.order(self._tasks.values(), self._fair_queue, now=now, patience=self._limits.patience)

    def most_urgent(self, now: float) -> set[Task]:
        """Return the tasks that nobody who waits for memory goes before: all, where nobody does."""
        tasks = list(self._tasks.values())
        if not any(task.waiting for task in tasks):
            return set(tasks)
        levels = policy.levels(tasks, now=now, patience=self._limits.patience)
        top = max(level for task, level in zip(tasks, levels, strict=True) if task.waiting)
        return {task for task, level in zip(tasks, levels, strict=True) if level >= top}

    def wait(self, ahead: Sequence[Task]) -> float | None:
        """Estimate the seconds until all of `ahead` are done; None where one was never measured."""
        return list(self.waits(ahead))[-1]

    def waits(self, order: Sequence[Task]) -> Iterator[float | None]:
        """Yield `wait` for the tasks before the first, the second, ... and for all of them."""
        total: float | None = 0.0
        yield total
        known: dict[object, float | None] = {}
        for task in order:
            key = task if task.started else task.cost_class
            if key not in known:
                known[key] = task.seconds_left(self._estimates)
            left = known[key]
            total = None if total is None or left is None else total + left
            yield total

    def _insert(self, task: Task) -> None:
        self._tasks[task.number] = task
        task.served_before = self._fair_queue.add(task.caller)

    def _check_room(self, now: float) -> None:
        waiting = sum(not task.started for task in self._tasks.values())
        if waiting < self._limits.queue:
            return
        order = self.ordered(now)
        first = next(place for place, task in enumerate(order) if not task.started)
        delay = None if order[first].awaited else self.wait(order[:first])
        raise QueueFull(f"the queue is full: {waiting} requests wait already", retry_after=delay)

    def _check_deadline(self, task: Task, now: float) -> None:
        if task.deadline is None:
            return
        left, need = task.deadline - now, task.seconds_left(self._estimates) or 0.0
        sure = need * self._estimates.confidence(task.batch_key, now)
        if left <= sure:
            raise DeadlineExceeded(f"it takes about {need:.3g} s, and the deadline is in {max(left, 0):.3g} s")
        order = self.ordered(now)
        wait = self.wait(order[: order.index(task)]) or 0.0
        if left <= wait + sure:
            raise QueueFull(
                f"it would be done in about {wait + need:.3g} s, and the deadline is in {left:.3g} s",
                retry_after=wait + need - left,
            )
