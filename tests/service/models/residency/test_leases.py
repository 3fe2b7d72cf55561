"""Leases, updated by hand: states and holds of tasks, on a fake repository."""

from __future__ import annotations

import pytest

from tests.support.engine.exact import ExactModel, Shelf, broken, spec
from tintype.service.models.residency.leases import Lease, Leases, LeaseState


class LoggingShelf(Shelf):
    """A repository of the models a and b, which logs holds and releases in order."""

    def __init__(self) -> None:
        super().__init__(ExactModel(spec(name="a")), ExactModel(spec(name="b")))
        self.log: list[str] = []

    def hold(self, name: str) -> None:
        self.log.append(f"hold {name}")
        super().hold(name)

    def release(self, name: str) -> None:
        self.log.append(f"release {name}")
        super().release(name)


@pytest.fixture
def shelf() -> LoggingShelf:
    return LoggingShelf()


def open_lease(leases: Leases, name: str = "a", priority: int = 0) -> Lease:
    lease = Lease(name, priority)
    leases.open(lease)
    return lease


def states(*leases: Lease) -> list[LeaseState]:
    return [lease.state for lease in leases]


def just_loaded(shelf: LoggingShelf) -> tuple[Leases, Lease]:
    """Return leases with one of model a, which took ten seconds to load and runs since second 10."""
    leases = Leases(shelf, longest=60)  # type: ignore[arg-type]
    shelf.absent.add("a")
    lease = open_lease(leases)
    leases.update({lease}, 0)
    assert states(lease) == [LeaseState.LOADING]
    shelf.absent.clear()
    assert leases.update({lease}, 10)
    assert states(lease) == [LeaseState.FIRST_USE]
    leases.use(lease)
    return leases, lease


def test_a_hold_lasts_until_the_update_after_the_end(shelf: LoggingShelf) -> None:
    """A unit may use the model when its task ends; the model is released between two units."""
    leases, lease = just_loaded(shelf)
    leases.end(lease)
    assert (states(lease), shelf.holds) == ([LeaseState.ENDED], ["a"])
    assert lease.model is not None
    leases.update((), 30)
    assert (states(lease), shelf.holds) == ([LeaseState.RELEASED], [])
    assert not lease.model


def test_a_waiting_task_reserves_the_model_of_one_that_runs(shelf: LoggingShelf) -> None:
    """It does so only in the minimum residency, here for the ten seconds that loading took."""
    leases, running = just_loaded(shelf)
    waiting = open_lease(leases)
    leases.update({running, waiting}, 19)
    assert (states(waiting), shelf.holds) == ([LeaseState.RESERVED], ["a", "a"])
    leases.update({running, waiting}, 20)
    assert (states(waiting), shelf.holds) == ([LeaseState.READY], ["a"])


def test_a_more_urgent_task_that_waits_for_memory_ends_a_reservation(shelf: LoggingShelf) -> None:
    """Its model gets the memory as soon as the running task has ended."""
    leases, running = just_loaded(shelf)
    low, high = open_lease(leases, priority=1), open_lease(leases, priority=3)
    shelf.absent.add("b")
    shelf.waiting.add("b")
    leases.update((), 11)
    assert states(low, high) == [LeaseState.RESERVED, LeaseState.RESERVED]
    urgent = open_lease(leases, "b", priority=2)
    leases.update({urgent}, 12)
    assert states(running, low) == [LeaseState.RUNNING, LeaseState.READY]
    assert states(high, urgent) == [LeaseState.RESERVED, LeaseState.WAITING]


def test_new_reservations_are_taken_before_old_ones_are_released(shelf: LoggingShelf) -> None:
    """Without any hold in between, the model could be evicted although a task that may keep it waits."""
    leases, running = just_loaded(shelf)
    low = open_lease(leases, priority=0)
    leases.update((), 11)
    leases.end(running)
    leases.update((), 12)
    assert shelf.holds == ["a"]
    shelf.absent.add("b")
    shelf.waiting.add("b")
    open_lease(leases, "b", priority=1)
    high = open_lease(leases, priority=2)
    shelf.log.clear()
    leases.update((), 13)
    assert (low.state, high.state) == (LeaseState.READY, LeaseState.RESERVED)
    assert shelf.log == ["hold a", "release a"]


def test_a_reservation_of_an_unloaded_model_is_released(shelf: LoggingShelf) -> None:
    """If the model was unloaded before the hold, the task waits for it like any other."""
    leases, running = just_loaded(shelf)
    waiting = open_lease(leases)
    shelf.absent.add("a")
    leases.update({running, waiting}, 11)
    assert (waiting.state, waiting.model, shelf.holds) == (LeaseState.LOADING, None, ["a"])
    assert running.model


def test_the_lease_of_a_broken_model_has_its_error(shelf: LoggingShelf) -> None:
    """The caller of `update` ends the task with this error, and the model is not held."""
    leases = Leases(shelf, longest=60)  # type: ignore[arg-type]
    lease = open_lease(leases, "b")
    shelf.broken["b"] = broken("b")
    leases.update({lease}, 0)
    assert lease.error is shelf.broken["b"]
    leases.end(lease)
    assert (lease.state, shelf.holds) == (LeaseState.RELEASED, [])


def test_leases_are_current_until_something_changes(shelf: LoggingShelf) -> None:
    """An update may be left out, unless a task came, started or ended, a model changed, or a residency ended."""
    leases, running = just_loaded(shelf)
    assert not leases.is_current(10)  # the task has started since the last update
    leases.update({running}, 11)
    assert [leases.is_current(now) for now in (11, 19.9, 20)] == [True, True, False]
    leases.update({running}, 20)
    assert leases.is_current(10**6)
    shelf.fraction += 0.1
    assert not leases.is_current(21)
    leases.update({running}, 21)
    waiting = open_lease(leases)
    assert not leases.is_current(22)
    leases.update({running, waiting}, 22)  # the new lease has another state now, on which others may depend
    leases.update({running, waiting}, 22)
    assert leases.is_current(22)
    leases.end(waiting)
    assert not leases.is_current(22)


def test_a_lease_that_changes_may_change_others(shelf: LoggingShelf) -> None:
    """A task loses its reservation in the update after the one that finds that a more urgent task waits."""
    leases, running = just_loaded(shelf)
    low, urgent = open_lease(leases), open_lease(leases, "b", priority=1)
    every = {running, low, urgent}
    leases.update(every, 11)
    leases.update(every, 11)
    assert states(low, urgent) == [LeaseState.RESERVED, LeaseState.READY]
    assert leases.is_current(11)
    shelf.absent.add("b")
    shelf.waiting.add("b")
    leases.update(every, 12)
    assert states(low, urgent) == [LeaseState.RESERVED, LeaseState.WAITING]
    assert not leases.is_current(12)
    leases.update(every, 12)
    assert states(low, urgent) == [LeaseState.READY, LeaseState.WAITING]
