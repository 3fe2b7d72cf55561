"""The engine: three verbs, and no thread of its own.

    admit(job)    any thread      refuse it at once, or take it and return its ticket
    step()        device thread   do one unit of work: encode, one call of the denoiser, or decode
    collect()     device thread   what has happened since

Between two units tasks join and leave: whoever was cancelled, or is past the deadline, is in none from then on. While
a unit runs the lock is free. A task that was taken in ends in exactly one Completed or Failed, after which nothing is
told of it.

The lock comes after DeviceThread's and before Repository's (see `models.repository`); no memory of models is freed
under it.
"""

from __future__ import annotations

import time
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING

from ..errors import Cancelled, GenerationFailed, OutOfMemory, TintypeError, Unavailable
from . import policy, runner
from .batch_width import BatchWidths
from .estimates import Estimates
from .events import Failed
from .live_tasks import LiveTasks
from .load_grace import LoadGrace
from .plan import plan, random_seed
from .queue import Limits, Queue
from .reporter import Reporter
from .task import Phase, Row, Task, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..job import Job
    from ..models import Repository
    from .events import Event

Unit = policy.Unit[Row]


class Engine:
    """Runs jobs on the models of `repository`. `clock` is in seconds; `draw` gives seeds to jobs without one."""

    def __init__(
        self,
        repository: Repository,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], int] = random_seed,
    ) -> None:
        self._repository = repository
        self._limits = limits or Limits()
        self._clock = clock
        self._draw = draw
        self._lock = Lock()
        self._estimates = Estimates()
        self._widths = BatchWidths(self._limits.max_batch)
        self._queue = Queue(self._limits, self._estimates)
        self._reporter = Reporter(self._queue, self._estimates)
        self._live_tasks = LiveTasks(repository, self._queue, self._reporter, LoadGrace(self._limits.patience))
        self._numbers = count()
        self._draining = False
        self._unit: Unit | None = None  # under way

    @property
    def now(self) -> float:
        """The point of its clock, of which deadlines are."""
        return self._clock()

    @property
    def busy(self) -> bool:
        """Whether any task is living."""
        return bool(self._live_tasks)

    def admit(self, job: Job) -> Ticket:
        """Take `job` in.

        Raises:
            InvalidField, Unsupported: a field is wrong, or not served.
            ModelNotFound, ModelBroken, OutOfMemory: its model can't be had.
            QueueFull, DeadlineExceeded: not now, or never in time.
            Unavailable: the engine is draining.
        """
        made = plan(job, self._repository.spec(job.model), draw=self._draw)
        with self._lock:
            if self._draining:
                raise Unavailable("the server is shutting down")
            ticket = Ticket(next(self._numbers), job, made)
            task = Task(ticket, self._clock(), self._estimates.cost(made), self._widths)
            self._live_tasks.admit(task)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """End a task whose caller has left; harmless when it has ended."""
        with self._lock:
            if task := self._live_tasks.find(ticket):
                self._live_tasks.end(task, Failed(Cancelled("the caller left")))
                self._stop_if_unwanted()

    def drain(self) -> None:
        """Refuse jobs from now on; those taken in go on."""
        self._draining = True

    def fail_all(self, error: TintypeError, *, waiting: bool = True) -> None:
        """End all tasks with `error`; without `waiting`, those that wait stay, if there are others."""
        with self._lock:
            for task in [t for t in self._queue if t.started and not waiting] or list(self._queue):
                self._live_tasks.end(task, Failed(error))
            self._stop_if_unwanted()

    def collect(self) -> list[tuple[Ticket, Event]]:
        """Return what has happened since the last time, in order."""
        with self._lock:
            return self._reporter.collect()

    def step(self) -> bool:
        """Do one unit of work, and return whether there was any."""
        with self._lock:
            now = self._clock()
            order = self._order(now)
            unit = policy.next_unit(order)
            self._begin(unit)
            self._reporter.report_positions(order, now)
        if unit is None:
            return False
        try:
            outcome = runner.run(unit, self._clock)
            self._apply(unit, outcome)
        finally:
            self._unit = None
        return True

    def _order(self, now: float) -> list[Task]:
        """Let go of what has ended, look for models, and return the tasks, first who goes first."""
        self._live_tasks.fail_expired(now)
        self._live_tasks.hold_in_grace(now)
        self._live_tasks.release_ended()
        self._live_tasks.assign_models(now)
        return self._queue.ordered(now)

    def _begin(self, unit: Unit | None) -> None:
        self._unit = unit
        if unit is not None:
            self._live_tasks.start(unit.rows)
            if model := unit.rows[0].task.model:
                model.resume()

    def _stop_if_unwanted(self) -> None:
        """End the unit under way, if nobody wants any of its rows any more."""
        unit = self._unit
        if unit and (model := unit.rows[0].task.model) and not any(map(self._live_tasks.has, unit.rows)):
            model.stop()

    def _apply(self, unit: Unit, outcome: runner.Outcome) -> None:
        """Record what a unit has made, and tell it to tasks that have not ended meanwhile."""
        match outcome:
            case runner.Encoding():
                self._encoded(unit.rows[0], outcome)
            case runner.Denoising():
                self._denoised(unit, outcome)
            case runner.Decoding():
                self._decoded(unit.rows[0], outcome)
            case runner.Failure():
                self._failed(unit, outcome.error)

    def _encoded(self, row: Row, outcome: runner.Encoding) -> None:
        with self._lock:
            if not self._live_tasks.has(row):
                return
            task = row.task
            task.encode += outcome.seconds
            task.chunks = outcome.chunks
            task.add_conditionings(outcome.conditionings, outcome.starts)
            self._queue.charge(task, task.cost.encode)
            self._estimates.record_encode(task.plan, outcome.seconds)

    def _denoised(self, unit: Unit, outcome: runner.Denoising) -> None:
        first, seconds = unit.rows[0].task, outcome.seconds
        with self._lock:
            living = [row for row in unit.rows if self._live_tasks.has(row)]
            for task in {row.task: None for row in living}:
                task.denoise += seconds
            for row in living:
                row.denoise += seconds
                self._queue.charge(row.task, row.task.cost.call)
            self._estimates.record_call(first.plan, unit.model_rows, seconds, unit.width, now=outcome.ended)
            self._widths.record(first.batch_key, unit.width, unit.model_rows, seconds)
            for row in outcome.broken:
                self._end_broken(row)
            for row, pixels in zip(unit.rows, outcome.previews, strict=True):
                if self._live_tasks.has(row):
                    self._reporter.report_progress(row, pixels)

    def _end_broken(self, row: Row) -> None:
        """End the task of a row whose latents are lost; rows of one call don't affect each other."""
        if self._live_tasks.has(row):
            where = f"of image {row.index} after step {row.step} of {row.task.plan.calls}"
            self._live_tasks.end(row.task, Failed(GenerationFailed(f"the latents {where} are not finite")))

    def _decoded(self, row: Row, outcome: runner.Decoding) -> None:
        with self._lock:
            if not self._live_tasks.has(row):
                return
            task, seconds = row.task, outcome.seconds
            row.decode += seconds
            task.decode += seconds
            self._queue.charge(task, task.cost.decode)
            if task.plan.calls:  # else it was no work
                self._estimates.record_decode(task.plan, seconds)
            row.finish()
            self._reporter.report_image(row, outcome.pixels, outcome.ended)
            if not task.unfinished:
                self._live_tasks.end(task, task.completion(outcome.ended))

    def _failed(self, unit: Unit, error: TintypeError) -> None:
        """A call failed: its rows are tried one by one; the task of a row that fails alone ends."""
        with self._lock:
            living = [row for row in unit.rows if self._live_tasks.has(row)]
            short = isinstance(error, OutOfMemory) and bool(living)
            if short and self._reduce_memory(unit):
                return  # and it is tried again
            relieves = short and not unit.rows[0].task.relieved
            unit.rows[0].task.relieved |= short
        if relieves and self._repository.evict_idle(unit.rows[0].task.plan.model):  # it takes seconds: without the lock
            return
        with self._lock:
            living = [row for row in unit.rows if self._live_tasks.has(row)]
            if len(unit.rows) > 1:
                for row in living:
                    row.unbatched = True
            elif living:
                self._live_tasks.end(living[0].task, Failed(error))

    def _reduce_memory(self, unit: Unit) -> bool:
        """Make calls that need less memory from now on.

        Return False if they can't.
        """
        task = unit.rows[0].task
        if unit.phase is Phase.DENOISE and self._widths.shrink(task.batch_key, min(unit.width, unit.model_rows)):
            return True
        if unit.phase is Phase.ENCODE:
            for row in task.rows:
                row.reset_noise()
        return False
