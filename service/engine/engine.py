"""The engine: three main operations and no thread of its own.

    admit(job)    any thread      refuse a job at once, or accept it and return its ticket
    step()        device thread   run one unit of work: encode prompts, denoise a batch, or decode an image
    collect()     device thread   return the events since the last call

Tasks join and leave batches between two units. A cancelled or expired task is in no further unit. The lock is free
while a unit runs. Every accepted task ends with exactly one Completed or Failed, after which it has no more events.

Lock order: DeviceThread, then Engine, then Repository. No memory of a model is freed while the engine's lock is held.
"""

from __future__ import annotations

import time
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from ..errors import Cancelled, GenerationFailed, OutOfMemory, TintypeError, Unavailable
from ..metrics.observer import IGNORE
from . import policy, runner
from .batch_width import BatchWidths
from .estimates import Estimates
from .events import Failed
from .live_tasks import LiveTasks
from .plan import Ticket, plan, random_seed
from .queue import Limits, Queue
from .reporter import Reporter
from .task import Phase, Row, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..job import Job
    from ..metrics.observer import Observer
    from ..models import Repository
    from .events import Event

Unit = policy.Unit[Row]


class _LastUnit(NamedTuple):
    """The last unit, and what it was chosen by: the order of tasks, and the version of the batch widths."""

    unit: Unit
    order: list[Task]
    widths: int


class Engine:
    """Runs jobs on the models of `repository`. `clock` returns seconds; `draw` returns seeds for jobs without one."""

    def __init__(
        self,
        repository: Repository,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], int] = random_seed,
        observer: Observer = IGNORE,
    ) -> None:
        self._repository = repository
        self._limits = limits or Limits()
        self._clock = clock
        self._draw = draw
        self._observer = observer
        self._lock = Lock()
        self._estimates = Estimates()
        self._widths = BatchWidths(self._limits.max_batch)
        self._queue = Queue(self._limits, self._estimates)
        self._reporter = Reporter(self._queue, self._estimates)
        self._live_tasks = LiveTasks(repository, self._queue, self._reporter, self._limits.patience, observer)
        self._numbers = count()
        self._draining = False
        self._unit: Unit | None = None  # running
        self._last: _LastUnit | None = None

    @property
    def now(self) -> float:
        """The current time of the clock that deadlines refer to."""
        return self._clock()

    @property
    def busy(self) -> bool:
        """Whether any task has not ended."""
        return bool(self._live_tasks)

    def admit(self, job: Job) -> Ticket:
        """Accept `job` and return its ticket.

        Raises:
            InvalidField, Unsupported: a field is invalid or not supported.
            ModelNotFound, ModelBroken, OutOfMemory: its model is not available.
            QueueFull, DeadlineExceeded: the queue is full, or the deadline cannot be met.
            Unavailable: the engine is draining.
        """
        resolved = plan(job, self._repository.spec(job.model), draw=self._draw)
        with self._lock:
            if self._draining:
                raise Unavailable("the server is shutting down")
            ticket = Ticket(next(self._numbers), job, resolved)
            task = Task(ticket, self._clock(), self._estimates.cost(resolved), self._widths)
            self._live_tasks.admit(task)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Cancel a task; does nothing if it has ended."""
        with self._lock:
            if task := self._live_tasks.find(ticket):
                self._live_tasks.end(task, Failed(Cancelled("the caller cancelled the request")))
                self._stop_if_unwanted()

    def count_tasks(self) -> tuple[int, int]:
        """Return how many tasks wait for their first unit, and how many have started."""
        with self._lock:
            started = sum(task.started for task in self._queue)
            return len(self._queue) - started, started

    def drain(self) -> None:
        """Refuse new jobs; accepted tasks continue."""
        self._draining = True

    def fail_all(self, error: TintypeError, *, waiting: bool = True) -> None:
        """Fail all tasks with `error`; without `waiting` only started ones, or all if none has started."""
        with self._lock:
            for task in [t for t in self._queue if t.started and not waiting] or list(self._queue):
                self._live_tasks.end(task, Failed(error))
            self._stop_if_unwanted()

    def collect(self) -> list[tuple[Ticket, Event]]:
        """Return the events since the last call, in order."""
        with self._lock:
            return self._reporter.collect()

    def step(self) -> bool:
        """Run the next unit of work; return False if there is none."""
        with self._lock:
            now = self._clock()
            self._live_tasks.update(now)
            order = self._queue.ordered(now)
            unit = self._next_unit(order, now)
            self._reporter.report_positions(order, now)
        if unit is None:
            return False
        try:
            outcome = runner.run(unit, self._clock)
            self._apply(unit, outcome)
        finally:
            self._unit = None
        return True

    def _next_unit(self, order: list[Task], now: float) -> Unit | None:
        """Return the next unit, and start its tasks: the last one again, or another one. The lock is held.

        The queue returns the same list until a task, a lease or a priority level has changed. So while `order` is that
        list, the last unit goes on, and nothing else is looked at.
        """
        last = self._last
        if last and last.order is order and last.widths == self._widths.version and last.unit.is_next:
            self._unit = last.unit
            return last.unit
        self._unit = unit = policy.next_unit(order)
        self._last = None if unit is None else _LastUnit(unit, order, self._widths.version)
        if unit is not None:
            self._live_tasks.start(unit.rows, now)
            if model := unit.rows[0].task.model:
                model.resume()
        return unit

    def _stop_if_unwanted(self) -> None:
        """Stop the running unit if all of its tasks have ended. The lock is held."""
        unit = self._unit
        if unit and (model := unit.rows[0].task.model) and not any(map(self._live_tasks.has, unit.rows)):
            model.stop()

    def _apply(self, unit: Unit, outcome: runner.Outcome) -> None:
        """Record the outcome of a unit, and report it to tasks that have not ended meanwhile."""
        match outcome:
            case runner.Encoding():
                self._apply_encoding(unit.rows[0], outcome)
            case runner.Denoising():
                self._apply_denoising(unit, outcome)
            case runner.Decoding():
                self._apply_decoding(unit.rows[0], outcome)
            case runner.Failure():
                self._apply_failure(unit, outcome.error)

    def _apply_encoding(self, row: Row, outcome: runner.Encoding) -> None:
        self._observer.encoded(row.task.plan.model, outcome.seconds)
        with self._lock:
            if not self._live_tasks.has(row):
                return
            task = row.task
            task.encode += outcome.seconds
            task.record("encode", outcome.seconds, self._clock())
            task.chunks = outcome.chunks
            for each, start in zip(task.rows, outcome.starts or (), strict=False):
                each.image_start = start
            for each, controls in zip(task.rows, outcome.controls, strict=False):
                each.controls = controls
            task.add_conditionings(outcome.conditionings, outcome.references)
            self._queue.charge(task, task.cost.encode)
            self._estimates.record_encode(task.plan, outcome.seconds)

    def _apply_denoising(self, unit: Unit, outcome: runner.Denoising) -> None:
        first, seconds, has = unit.rows[0].task, outcome.seconds, self._live_tasks.has
        self._observer.denoised(first.plan.model, len(unit.rows), min(unit.width, unit.model_rows), seconds)
        with self._lock:
            live = [row for row in unit.rows if has(row)]
            for task in {row.task: None for row in live}:
                task.denoise += seconds
                task.record("denoise", seconds, outcome.ended)
            for row in live:
                row.denoise += seconds
                self._queue.charge(row.task, row.task.cost.call)
            self._estimates.record_call(first.plan, unit.model_rows, seconds, unit.width, now=outcome.ended)
            self._widths.record(first.batch_key, unit.width, unit.model_rows, seconds)
            for row in outcome.broken:
                self._end_broken(row)
            both = zip(unit.rows, outcome.previews, strict=True)
            self._reporter.report_progress((row, pixels) for row, pixels in both if has(row))

    def _end_broken(self, row: Row) -> None:
        """Fail the task of a row whose latents are not finite. Rows of one call do not affect each other."""
        if self._live_tasks.has(row):
            latents = f"the latents of image {row.index} after step {row.step} of {row.task.plan.calls}"
            self._live_tasks.end(row.task, Failed(GenerationFailed(f"{latents} are not finite")))

    def _apply_decoding(self, row: Row, outcome: runner.Decoding) -> None:
        self._observer.decoded(row.task.plan.model, outcome.seconds)
        with self._lock:
            if not self._live_tasks.has(row):
                return
            task, seconds = row.task, outcome.seconds
            row.decode += seconds
            task.decode += seconds
            task.record("decode", seconds, outcome.ended)
            self._queue.charge(task, task.cost.decode)
            if task.plan.calls:  # otherwise nothing was decoded
                self._estimates.record_decode(task.plan, seconds)
            row.finish()
            self._reporter.report_image(row, outcome.pixels, outcome.ended)
            if not task.unfinished:
                self._live_tasks.end(task, task.completion(outcome.ended))

    def _apply_failure(self, unit: Unit, error: TintypeError) -> None:
        """Retry a failed unit with smaller calls, without idle models, or row by row; otherwise fail its task."""
        with self._lock:
            self._last = None
            live = [row for row in unit.rows if self._live_tasks.has(row)]
            out_of_memory = isinstance(error, OutOfMemory) and bool(live)
            if out_of_memory and self._reduce_memory(unit):
                return  # retried with smaller calls
            evicts = out_of_memory and not unit.rows[0].task.evicted_idle
            unit.rows[0].task.evicted_idle |= out_of_memory
        if evicts and self._repository.evict_idle(unit.rows[0].task.lease.name):  # takes seconds, so without the lock
            return
        with self._lock:
            live = [row for row in unit.rows if self._live_tasks.has(row)]
            if len(unit.rows) > 1:
                for row in live:
                    row.unbatched = True
            elif live:
                self._live_tasks.end(live[0].task, Failed(error))

    def _reduce_memory(self, unit: Unit) -> bool:
        """Return True if later calls are now narrower, so that a retry may fit; a failed encoding resets the noise."""
        task = unit.rows[0].task
        if unit.phase is Phase.DENOISE and self._widths.shrink(task.batch_key, min(unit.width, unit.model_rows)):
            return True
        if unit.phase is Phase.ENCODE:
            for row in task.rows:
                row.reset_noise()
        return False
