"""A node: the engine's own queue, policy, batch widths and leases, on simulated time and without arrays.

Real, from `service`: `Queue` (fair queueing, patience, the limit of waiting tasks), `policy.next_unit` (batches,
memory), `BatchWidths` and `Leases` (minimum residency). Simulated: the seconds of a unit, from a profile, and memory.

Calls of one unit that nothing can change before they are done are one event. A new task or a loaded model ends such a
series after the call that runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from tintype.service.engine import policy
from tintype.service.engine.estimates import Estimates
from tintype.service.engine.queue import Limits, Queue
from tintype.service.engine.task import Phase
from tintype.service.errors import QueueFull
from tintype.service.models.residency.leases import Leases

from .memory import Memory
from .tasks import SimulatedRow, SimulatedTask, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tintype.service.engine.batch_width import BatchWidths

    from .clock import Clock
    from .profiles import Profile
    from .tasks import Request

Unit = policy.Unit[SimulatedRow]


@dataclass(slots=True)
class Series:
    """`calls` runs of one unit of `seconds` each, from `began`."""

    unit: Unit
    began: float
    seconds: float
    calls: int
    cut: bool = False

    @property
    def end(self) -> float:
        """When its last call ends."""
        return self.began + self.calls * self.seconds


class Node:
    """A service with one device. `finished` is called with each request that is done or refused."""

    def __init__(
        self,
        clock: Clock,
        profile: Profile,
        widths: BatchWidths,
        capacity: int,
        finished: Callable[[Request], None],
        limits: Limits | None = None,
    ) -> None:
        self._clock, self._profile, self._widths = clock, profile, widths
        self._finished = finished
        self._limits = limits or Limits()
        self._cost = Work.of(profile, widths)
        self.memory = Memory(capacity, self._load_later, lambda: clock.now)
        # Their types name the engine's tasks and repository, of which they read what the simulated ones have.
        self._queue: Any = Queue(self._limits, Estimates())
        repository: Any = self.memory
        self._leases = Leases(repository, self._limits.patience)
        self._series: Series | None = None
        self._numbers = 0
        self._wakes_at = -1.0
        self.busy = 0.0
        self.images = 0

    def __len__(self) -> int:
        return len(self._queue)

    def admit(self, request: Request) -> None:
        """Accept a request, or refuse it because the queue is full."""
        now = self._clock.now
        task = SimulatedTask(self._numbers, request, now, self._cost, self._widths, self._profile.rows)
        self._numbers += 1
        try:
            self._queue.add(task, now)
        except QueueFull:
            request.refused = True
            self._finished(request)
            return
        self._leases.open(task.lease)
        self._queue.reorder()
        self._look_again()

    def _load_later(self, name: str) -> None:
        self._clock.after(self._profile.load, lambda: self._loaded(name))

    def _loaded(self, name: str) -> None:
        self.memory.finish_load(name)
        self._look_again()

    def _look_again(self) -> None:
        """Choose the next unit now, or after the call that runs."""
        series = self._series
        if series is None:
            self._step()
        elif series.calls > 1:
            calls = max(ceil((self._clock.now - series.began) / series.seconds), 1)
            if calls < series.calls:
                series.cut = True
                self._run(Series(series.unit, series.began, series.seconds, calls))

    def _run(self, series: Series) -> None:
        self._series = series
        self._clock.at(series.end, lambda: self._end(series))

    def _end(self, series: Series) -> None:
        if series.cut:
            return
        self._series = None
        self.busy += self._clock.now - series.began
        unit = series.unit
        for row in unit.rows:
            task = row.task
            # As in the engine's timings, every row of a call counts the whole call as its own time.
            task.request.work += series.calls * series.seconds
            if unit.phase is Phase.DENOISE:
                row.advance(series.calls)
                self._queue.charge(task, task.cost.call * series.calls)
            elif unit.phase is Phase.ENCODE:
                row.phase = Phase.DENOISE
                self._queue.charge(task, task.cost.encode)
            else:
                row.phase = Phase.DONE
                self._queue.charge(task, task.cost.decode)
                self._finish(task)
        self._step()

    def _finish(self, task: SimulatedTask) -> None:
        self._queue.remove(task)
        self._leases.end(task.lease)
        self.images += 1
        self._finished(task.request)

    def _step(self) -> None:
        """Start the next unit; without one, wait for a load or for the end of a period."""
        now = self._clock.now
        if self.memory.next_end() <= now:
            self.memory.expire()
        if not self._leases.is_current(now):
            self._leases.update({task.lease for task in self._queue.most_urgent(now)}, now)
            self._queue.reorder()
        order: list[SimulatedTask] = self._queue.ordered(now)
        unit: Unit | None = policy.next_unit(order)
        if unit is None:
            self._wake_later(now)
            return
        for task in {row.task: None for row in unit.rows}:
            if not task.started:
                self._queue.reorder()
            self._leases.use(task.lease)
        seconds = self._seconds(unit)
        self._run(Series(unit, now, seconds, self._calls(unit, order, seconds, now)))

    def _wake_later(self, now: float) -> None:
        """Look again when a period of a model ends, if tasks wait for memory, or at once if leases have changed."""
        if not len(self._queue):
            return
        if not self._leases.is_current(now):
            self._clock.after(1e-4, self._wake)
            return
        end = min(self._leases._until, self.memory.next_end())
        if now < end < float("inf") and not now < self._wakes_at <= end:
            self._wakes_at = end
            self._clock.at(end, self._wake)

    def _wake(self) -> None:
        if self._series is None:
            self._step()

    def _seconds(self, unit: Unit) -> float:
        if unit.phase is Phase.ENCODE:
            return self._profile.encode
        if unit.phase is Phase.DECODE:
            return self._profile.decode
        return self._profile.call(unit.model_rows, unit.width)

    def _calls(self, unit: Unit, order: Sequence[SimulatedTask], seconds: float, now: float) -> int:
        """Return how many times a unit runs before the order can change without an event."""
        if unit.phase is not Phase.DENOISE:
            return 1
        calls = min(row.calls_left for row in unit.rows)
        others = len(order) > len(unit.rows)
        if others:
            patience = self._limits.patience
            leaders = policy.leaders(order, now=now, patience=patience)
            if not all(row.task in leaders for row in unit.rows):
                return 1
            ends = min(policy.next_climb(order, now=now, patience=patience), self._leases._until)
            calls = min(calls, max(ceil(min((ends - now) / seconds, float(calls))), 1))
        return calls
