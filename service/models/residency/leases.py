"""Leases: which live task waits for its model, may use it, or holds it in memory.

    state      holds  meaning                                    next state, and what causes it
    QUEUED     no     admitted; not looked up since              WAITING LOADING READY FIRST_USE: looked up
                                                                 RESERVED: another task holds the model
    WAITING    no     the model waits for memory                 LOADING READY FIRST_USE: looked up
    LOADING    no     the model is being loaded                  WAITING READY FIRST_USE: looked up
    READY      no     the model is resident                      RUNNING: a unit starts
                                                                 RESERVED: another task holds the model
                                                                 FIRST_USE WAITING LOADING: looked up
    FIRST_USE  no     the model is resident, and no task has     RUNNING RESERVED READY WAITING LOADING: as above
                      used it since it was loaded; no more
                      urgent task waits for memory
    RESERVED   yes    the model is kept for this task, in its    RUNNING: a unit starts
                      minimum residency                          READY: that time is over, or a more urgent task
                                                                 waits
                                                                 WAITING LOADING: unloaded by the repository
    RUNNING    yes    a unit has started; the model is held      ENDED: last event
                      until the task ends
    ENDED      yes    the task has ended; a unit may still use   RELEASED: between two units
                      the model
    RELEASED   no     the task has ended                         -

Every state but ENDED and RELEASED also goes to RELEASED, or to ENDED if it holds, when the task ends. `TRANSITIONS` is
the same table as data. "Looked up" happens between two units (`Leases.update`), before every unit that follows a change
(`Leases.is_current`).

A hold here is one hold of the model's slot (see `slot`). A running task keeps its reference to the model even if the
slot is unloaded.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from ...errors import TintypeError
from .load_grace import MinimumResidency
from .slot import ModelState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..model import Model
    from .repository import Repository
    from .slot import ModelStatus

Lookup: TypeAlias = "Model | TintypeError | None"  # None: the model is not in memory


class LeaseState(Enum):
    """The state of a task's lease; the table is at the head of this module."""

    QUEUED = "queued"
    WAITING = "waiting"
    LOADING = "loading"
    READY = "ready"
    FIRST_USE = "first use"
    RESERVED = "reserved"
    RUNNING = "running"
    ENDED = "ended"
    RELEASED = "released"

    @property
    def holds(self) -> bool:
        """Whether the task keeps its model in memory."""
        return self in _HOLDING

    @property
    def has_memory(self) -> bool:
        """Whether the task may run while others wait for memory: they cannot get the memory of its model."""
        return self in _HOLDING or self is LeaseState.FIRST_USE

    @property
    def may_run(self) -> bool:
        """Whether the model is in memory, so that a unit of the task may run."""
        return self in {LeaseState.READY, LeaseState.FIRST_USE, LeaseState.RESERVED, LeaseState.RUNNING}

    @property
    def awaits_model(self) -> bool:
        """Whether the model must be loaded first."""
        return self in {LeaseState.WAITING, LeaseState.LOADING}


_HOLDING = frozenset({LeaseState.RESERVED, LeaseState.RUNNING, LeaseState.ENDED})
_LOOKED_UP = frozenset({LeaseState.WAITING, LeaseState.LOADING, LeaseState.READY, LeaseState.FIRST_USE})
_RESERVABLE = frozenset({LeaseState.QUEUED, LeaseState.READY, LeaseState.FIRST_USE})
_USABLE = _LOOKED_UP | {LeaseState.RESERVED, LeaseState.RUNNING, LeaseState.RELEASED}

TRANSITIONS: Mapping[LeaseState, frozenset[LeaseState]] = MappingProxyType(
    {
        LeaseState.QUEUED: _LOOKED_UP | {LeaseState.RESERVED, LeaseState.RELEASED},
        LeaseState.WAITING: _LOOKED_UP | {LeaseState.RELEASED},
        LeaseState.LOADING: _LOOKED_UP | {LeaseState.RELEASED},
        LeaseState.READY: _USABLE,
        LeaseState.FIRST_USE: _USABLE,
        LeaseState.RESERVED: frozenset(
            {LeaseState.RUNNING, LeaseState.READY, LeaseState.WAITING, LeaseState.LOADING, LeaseState.ENDED}
        ),
        LeaseState.RUNNING: frozenset({LeaseState.ENDED}),
        LeaseState.ENDED: frozenset({LeaseState.RELEASED}),
        LeaseState.RELEASED: frozenset(),
    }
)


class Lease:
    """One task's lease of the model `name`, or of the slot with that key. Only `Leases` changes it.

    `model` is None if the last lookup did not find it in memory. `status` is the status of a model that the last lookup
    did not find in memory; `error` is the reason why it cannot be loaded.
    """

    __slots__ = ("error", "model", "name", "priority", "state", "status")

    def __init__(self, name: str, priority: int = 0) -> None:
        self.name, self.priority = name, priority
        self.state = LeaseState.QUEUED
        self.model: Model | None = None
        self.status: ModelStatus | None = None
        self.error: TintypeError | None = None

    def enter(self, state: LeaseState) -> None:
        """Change the state, as the table allows."""
        if state is not self.state:
            assert state in TRANSITIONS[self.state], f"{self.state} to {state}"  # noqa: S101
            self.state = state


class Leases:
    """The leases of all live tasks. Not thread-safe: the engine's lock guards it.

    `longest` is the longest minimum residency in seconds; `now` is a time of the engine's clock, in seconds.
    """

    def __init__(self, repository: Repository, longest: float) -> None:
        self._repository = repository
        self._residency = MinimumResidency(longest)
        self._live: dict[Lease, None] = {}  # in order of admission
        self._ended: list[Lease] = []
        self._changed = True  # a lease was opened, used or ended, or has another state since the last update
        self._version: object = None  # of the repository, before the last update
        self._until = -inf  # when the next minimum residency ends

    def open(self, lease: Lease) -> None:
        """Request the model of a task that is being admitted; a failed load is tried again.

        Raises the errors of `Repository.load`.
        """
        self._repository.load(lease.name, pinned=False)
        status = self._repository.status(lease.name)
        if status.state.is_loading:
            self._await_model(lease, status)
        self._live[lease] = None
        self._changed = True

    def is_current(self, now: float) -> bool:
        """Return whether `update` would change nothing, with the same `urgent` leases.

        True if no lease and no model has changed since the last update, and no minimum residency has ended.
        """
        return not self._changed and now < self._until and self._version == self._repository.version

    def update(self, urgent: Collection[Lease], now: float) -> bool:
        """Look up the models of tasks that have not started; return whether one was loaded or evicted since.

        `urgent` are the leases of tasks that may start before every task that waits for memory. Must be called between
        two units, on the device thread, since it releases the models of ended tasks. A change of a lease may change
        others at the next update.
        """
        self._version, before = self._repository.version, [lease.state for lease in self._live]
        self._reserve(now)
        self._release_ended()
        self._repository.set_demand({lease.name for lease in self._live}, {lease.name for lease in urgent})
        lookups: dict[str, Lookup] = {}
        found = False  # or lost
        for lease in self._live:
            if lease.state is not LeaseState.RUNNING:
                if lease.name not in lookups:
                    lookups[lease.name] = self._look_up(lease.name)
                had = lease.model is not None
                self._apply(lease, lookups[lease.name], now, urgent=lease in urgent)
                found = found or had is not (lease.model is not None)
        self._changed = [lease.state for lease in self._live] != before
        self._until = self._residency.next_end((lease.name for lease in self._live), now)
        return found

    def use(self, lease: Lease) -> None:
        """Hold the model from the next unit, which runs the task, until the task ends."""
        self._changed = self._changed or lease.state is not LeaseState.RUNNING or self._residency.is_unused(lease.name)
        self._residency.record_use(lease.name)
        if not lease.state.holds:
            self._repository.hold(lease.name)
        lease.enter(LeaseState.RUNNING)

    def end(self, lease: Lease) -> None:
        """End the lease of a task. The next `update` releases its hold, since a unit may be using the model now."""
        del self._live[lease]
        self._ended.append(lease)
        self._changed = True
        lease.enter(LeaseState.ENDED if lease.state.holds else LeaseState.RELEASED)

    def _release_ended(self) -> None:
        for lease in self._ended:
            if lease.state.holds:
                self._repository.release(lease.name)
                lease.enter(LeaseState.RELEASED)
            lease.model = None
        self._ended.clear()

    def _reserve(self, now: float) -> None:
        """Hold models in their minimum residency for the tasks that wait for them, unless a more urgent task waits.

        New holds are taken before old ones are released; otherwise the model could be evicted in between.
        """
        top = max((lease.priority for lease in self._live if lease.state is LeaseState.WAITING), default=-inf)
        held = {lease.name for lease in (*self._live, *self._ended) if lease.state.holds}
        reserved = {
            lease
            for lease in self._live
            if lease.name in held and lease.priority >= top and self._residency.is_active(lease.name, now)
        }
        for lease in self._live:
            if lease in reserved and lease.state in _RESERVABLE:
                self._repository.hold(lease.name)
                lease.enter(LeaseState.RESERVED)
        for lease in self._live:
            if lease not in reserved and lease.state is LeaseState.RESERVED:
                self._repository.release(lease.name)
                lease.enter(LeaseState.READY)

    def _look_up(self, name: str) -> Lookup:
        try:
            return self._repository.get(name)
        except TintypeError as error:
            return error

    def _apply(self, lease: Lease, lookup: Lookup, now: float, *, urgent: bool) -> None:
        """Apply the result of looking up a model to one of its leases."""
        lease.status = lease.error = None
        if isinstance(lookup, TintypeError):
            lease.error = lookup
            return
        lease.model = lookup
        if lookup is None:
            self._await_model(lease, self._repository.status(lease.name))
            if lease.state is LeaseState.LOADING:
                self._residency.record_loading(lease.name, now)
            return
        self._residency.record_resident(lease.name, now)
        if lease.state is not LeaseState.RESERVED:
            first_use = urgent and self._residency.is_unused(lease.name)
            lease.enter(LeaseState.FIRST_USE if first_use else LeaseState.READY)

    def _await_model(self, lease: Lease, status: ModelStatus) -> None:
        """Enter the state of a lease whose model is not in memory."""
        if lease.state is LeaseState.RESERVED:  # it was unloaded before the hold was taken
            self._repository.release(lease.name)
        lease.status = status
        lease.enter(LeaseState.WAITING if status.state is ModelState.WAITING else LeaseState.LOADING)
