"""Scheduling policy: which task runs next and which rows share its batch. Works on numbers only, never on arrays.

**Order.** Higher priority first. A waiting task gains one priority level every `patience` seconds, up to the highest
level present, so nothing starves and tasks of equal priority keep their order. Within a level, the caller with the
smallest virtual time goes first (see `FairQueue`). Within a caller, the task with the least remaining work goes first;
work done for that caller before a task arrived counts against it, so a long task is overtaken only for as long as it
would itself run.

**Batching.** The first row in this order leads the batch. Other rows join, in order, if model, latent shape and
conditioning shape match (and the timestep, for graphs with a scalar timestep) and the batch has room. A row that could
join but still needs its prompt encoded is encoded first.

**Memory.** While a task waits for memory, later tasks start only if their model is already held, is in its grace
period, or has not been used since it was loaded. Without this rule the waiting task could starve.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ..models.residency.leases import LeaseState
from .batch_width import BatchLimit
from .task import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class PolicyRow(Protocol):
    """The part of a row that policy reads."""

    @property
    def phase(self) -> Phase: ...  # noqa: D102
    @property
    def timestep(self) -> float: ...  # noqa: D102
    @property
    def unbatched(self) -> bool: ...  # noqa: D102
    @property
    def model_rows(self) -> int: ...  # noqa: D102


ROUNDING = 1e-6  # seconds, above the rounding errors of times


R = TypeVar("R", bound=PolicyRow)
R_co = TypeVar("R_co", bound=PolicyRow, covariant=True)


class PolicyTask(Protocol[R_co]):
    """The part of a task that policy reads. `work` and `served_before` are microseconds, `arrived` is seconds.

    `batch_limit` is the largest batch that the task may lead; `width` returns how many of `model_rows` rows share a
    call of the model.
    """

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def caller(self) -> str: ...  # noqa: D102
    @property
    def priority(self) -> int: ...  # noqa: D102
    @property
    def arrived(self) -> float: ...  # noqa: D102
    @property
    def served_before(self) -> int: ...  # noqa: D102
    @property
    def work(self) -> int: ...  # noqa: D102
    @property
    def batch_limit(self) -> BatchLimit: ...  # noqa: D102
    def width(self, model_rows: int, /) -> int: ...  # noqa: D102
    @property
    def state(self) -> LeaseState: ...  # noqa: D102
    @property
    def batch_key(self) -> object: ...  # noqa: D102
    @property
    def conditioning_key(self) -> object: ...  # noqa: D102
    @property
    def batched_timestep(self) -> bool: ...  # noqa: D102
    @property
    def unfinished(self) -> Sequence[R_co]: ...  # noqa: D102


C = TypeVar("C", bound=PolicyTask[PolicyRow])


@dataclass(frozen=True, slots=True)
class Unit(Generic[R]):
    """One indivisible piece of work: encode or decode one row, or denoise rows in calls of `width` model rows.

    A unit that `repeats` is followed by itself, as long as its rows denoise and neither order nor widths change.
    """

    phase: Phase
    rows: tuple[R, ...]
    width: int = 1
    repeats: bool = field(default=False, compare=False)

    @property
    def model_rows(self) -> int:
        """Number of rows that the model computes: two for each row with guidance."""
        return _model_rows(self.rows)

    @property
    def is_next(self) -> bool:
        """Whether a unit that has run is the next one again, if neither order nor widths have changed."""
        return self.repeats and all(row.phase is Phase.DENOISE for row in self.rows)


class FairQueue:
    """Work done so far for each caller with a live task, in microseconds.

    Fair queueing (Demers, Keshav & Shenker, 1989): the tag of a task is the work done for its caller plus the work that
    it needs, and the smallest tag goes first. The tag of a running task is constant, since work moves from the second
    term to the first, so a task runs until one with a smaller tag arrives. Short tasks have smaller tags. A caller with
    many tasks pays for each.

    Virtual time is the work that an always active caller would have received: it grows by the work done divided by the
    number of callers. A new caller starts from it, so absence earns no credit and no caller starves. Work is in whole
    microseconds, so that tags are exactly constant.
    """

    def __init__(self) -> None:
        self._virtual = 0
        self._served: dict[str, int] = {}
        self._live: Counter[str] = Counter()

    def __getitem__(self, caller: str) -> int:
        return self._served[caller]

    def add(self, caller: str) -> int:
        """Add one task of `caller`; return the work done for this caller."""
        if caller not in self._live:
            self._served[caller] = max(self._served.get(caller, 0), self._virtual)
        self._live[caller] += 1
        return self._served[caller]

    def remove(self, caller: str) -> None:
        """Remove one task of `caller`; forget absent callers that virtual time has passed."""
        self._live[caller] -= 1
        self._live += Counter()  # drops zero counts
        if not self._live:
            self._virtual, self._served = 0, {}
        self._served = {
            name: served for name, served in self._served.items() if name in self._live or served > self._virtual
        }

    def charge(self, caller: str, work: int) -> None:
        """Charge `work` to `caller`, which has a live task."""
        self._served[caller] += work
        self._virtual += work // len(self._live)


def order(tasks: Iterable[C], served: FairQueue | Mapping[str, int], *, now: float, patience: float) -> list[C]:
    """Return the tasks in scheduling order. `served` is the work done for each caller, in microseconds."""
    tasks = list(tasks)
    if len(tasks) < 2:
        return tasks
    groups: dict[tuple[int, str], list[C]] = {}
    for task, level in zip(tasks, levels(tasks, now=now, patience=patience), strict=True):
        groups.setdefault((level, task.caller), []).append(task)
    ranked = [
        (-level, tag, task.number, task)
        for (level, caller), group in groups.items()
        for tag, task in _tags(group, served[caller])
    ]
    return _holders_first([entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:-1])])


def levels(tasks: Sequence[PolicyTask[PolicyRow]], *, now: float, patience: float) -> list[int]:
    """Return the priority level of each task, raised by its waiting time."""
    top = max((task.priority for task in tasks), default=0)
    return [min(top, task.priority + int((now - task.arrived) / patience)) for task in tasks]


def leaders(tasks: Sequence[C], *, now: float, patience: float) -> set[C]:
    """Return the tasks that keep the order of all tasks as it is while they run, until something else changes.

    Running moves work from a task to its caller, which leaves its own tag constant, and raises the tags of those tasks
    of its caller that do not go after it. So a leader is the first task of a caller whose tasks are at one level.
    """
    groups: dict[str, dict[int, list[C]]] = {}
    for task, level in zip(tasks, levels(tasks, now=now, patience=patience), strict=True):
        groups.setdefault(task.caller, {}).setdefault(level, []).append(task)
    single = (group for by_level in groups.values() if len(by_level) == 1 for group in by_level.values())
    return {min(group, key=lambda task: (task.served_before + task.work, task.number)) for group in single}


def next_climb(tasks: Sequence[PolicyTask[PolicyRow]], *, now: float, patience: float) -> float:
    """Return a time before which no task gains a priority level; infinity if none can."""
    top = max((task.priority for task in tasks), default=0)
    raised = zip(tasks, levels(tasks, now=now, patience=patience), strict=True)
    climbs = (task.arrived + patience * (level + 1 - task.priority) for task, level in raised if level < top)
    return min(climbs, default=inf) - ROUNDING


def _holders_first(tasks: list[C]) -> list[C]:
    """Move tasks that hold memory before the first task that waits for memory: it cannot get their memory."""
    first = next((i for i, task in enumerate(tasks) if task.state is LeaseState.WAITING), len(tasks))
    return tasks[:first] + sorted(tasks[first:], key=lambda task: not task.state.has_memory)


def _tags(group: list[C], tag: int) -> list[tuple[int, C]]:
    """Return one caller's tasks with their tags: the work done for the caller by the time that each is done."""
    tags = []
    for _, _, work, task in sorted((c.served_before + c.work, c.number, c.work, c) for c in group):
        tag += work
        tags.append((tag, task))
    return tags


def next_unit(ordered: Iterable[PolicyTask[R]]) -> Unit[R] | None:
    """Return the next unit of work; None if no task is ready."""
    ready = list(_runnable(ordered))
    if not ready:
        return None
    lead = ready[0].unfinished[0]
    if lead.phase is not Phase.DENOISE:
        return Unit(lead.phase, (lead,))
    return _denoising_unit(ready, [lead]) if lead.unbatched else _batch(ready, lead)


def _runnable(ordered: Iterable[PolicyTask[R]]) -> Iterator[PolicyTask[R]]:
    """Yield the tasks that may run: after a task that waits for memory, only those with memory."""
    blocked = False
    for task in ordered:
        blocked = blocked or task.state is LeaseState.WAITING
        if task.state.may_run and task.unfinished and (task.state.has_memory or not blocked):
            yield task


def _batch(ready: Sequence[PolicyTask[R]], lead: R) -> Unit[R]:
    """Return the unit that `lead` leads, or the encoding of a row that could join it."""
    first, limit, rows = ready[0], ready[0].batch_limit, list[R]()
    for task in ready:
        if task.batch_key != first.batch_key or task.conditioning_key not in (None, first.conditioning_key):
            continue
        for row in task.unfinished:
            if not _fits(rows, row, limit):
                return _denoising_unit(ready, rows)
            if row.unbatched or row.phase is Phase.DECODE or not _timestep_fits(first, lead, row):
                continue
            if row.phase is Phase.ENCODE:
                return Unit(Phase.ENCODE, (row,))
            rows.append(row)
    return _denoising_unit(ready, rows)


def _denoising_unit(ready: Sequence[PolicyTask[R]], rows: Sequence[R]) -> Unit[R]:
    """Return a unit of the first of `rows` that fit into their width; its own width is that of the rows kept.

    It does not repeat if rows of other timesteps wait that may match those of its rows later, or its own may differ.
    """
    first = ready[0]
    limit = BatchLimit(len(rows), first.width(_model_rows(rows)))
    kept: list[R] = []
    for row in rows:
        if not _fits(kept, row, limit):
            break
        kept.append(row)
    repeats = first.batched_timestep or (len(ready) == 1 and len(kept) == len(first.unfinished))
    return Unit(Phase.DENOISE, tuple(kept), first.width(_model_rows(kept)), repeats)


def _fits(rows: Sequence[R], row: R, limit: BatchLimit) -> bool:
    """Whether one more row fits. The first row always fits."""
    return not rows or (len(rows) < limit.images and _model_rows(rows) + row.model_rows <= limit.model_rows)


def _model_rows(rows: Sequence[PolicyRow]) -> int:
    return sum(row.model_rows for row in rows)


def _timestep_fits(first: PolicyTask[R], lead: R, row: R) -> bool:
    """Whether the graph takes the timestep of `row` in one call with that of `lead`."""
    return first.batched_timestep or row.timestep == lead.timestep
