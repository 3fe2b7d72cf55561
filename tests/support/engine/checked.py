"""An engine that compares each shortcut with the long way."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from tintype.service.engine import Engine, policy

if TYPE_CHECKING:
    from tintype.service.engine.engine import Unit
    from tintype.service.engine.task import Task


class CheckedEngine(Engine):
    """An engine whose clock stands still between two model calls.

    Before each unit it computes anew what the engine takes as unchanged: leases, order of tasks, and the unit. `skipped`
    counts the updates that were left out, `repeated` the units that were the last one again.
    """

    skipped = repeated = 0

    def step(self) -> bool:
        now, live = self._clock(), self._live_tasks
        if now < live._next_check and live._leases.is_current(now):
            self.skipped += 1
            before = self._state()
            live._fail_expired(now)
            live._update_models(now)
            assert self._state() == before
        return super().step()

    def _next_unit(self, order: list[Task]) -> Unit | None:
        queue, now = self._queue, self._clock()
        fresh = policy.order(queue, queue._fair_queue, now=now, patience=self._limits.patience)
        assert order == fresh
        expected, last = policy.next_unit(fresh), self._last
        unit = super()._next_unit(order)
        assert unit == expected
        self.repeated += unit is not None and last is not None and unit is last.unit
        return unit

    def _state(self) -> object:
        """Return what an update changes; estimates of waiting times may be reported at any time."""
        leases = self._live_tasks._leases
        live = [(each.state, each.model, each.status, each.error) for each in leases._live]
        residency = {name: deepcopy(value) for name, value in vars(leases._residency).items()}
        return live, residency, leases._ended, list(self._queue), len(self._reporter._events)
