"""The tables of states: documentation, data and code of a module agree."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tintype.service.models import ModelState
from tintype.service.models.residency import leases, slot
from tintype.service.models.residency.leases import Lease, LeaseState
from tintype.service.models.residency.slot import Slot

if TYPE_CHECKING:
    from types import ModuleType


def documented(module: ModuleType) -> dict[str, set[str]]:
    """Return the next states of each state in the table at the head of a module."""
    lines = (module.__doc__ or "").splitlines()
    header = next(line for line in lines if "next state" in line)
    column, state = header.index("next state"), ""
    targets: dict[str, set[str]] = {}
    for line in lines[lines.index(header) + 1 :]:
        if not line.strip():
            break
        if name := re.match(r"    ([A-Z_]+) ", line):
            state = name[1]
            targets[state] = set()
        causes = re.match(r"([A-Z_]+(?: [A-Z_]+)*):", line[column:])
        targets[state] |= set(causes[1].split()) if causes else set()
    return targets


def test_the_states_of_a_model_are_documented() -> None:
    """Each row of the table lists the transitions that the code allows."""
    assert documented(slot) == {
        state.name: {target.name for target in targets} for state, targets in slot.TRANSITIONS.items()
    }


def test_the_states_of_a_lease_are_documented() -> None:
    """Each row lists the transitions before a task's end, which is the same for all and documented below the table."""
    ending = {LeaseState.ENDED, LeaseState.RELEASED}
    rows = documented(leases)
    for state, targets in leases.TRANSITIONS.items():
        expected = set(targets) - {state}
        if state not in ending:
            end = LeaseState.ENDED if state.holds else LeaseState.RELEASED
            assert end in expected
            expected -= set() if state is LeaseState.RUNNING else {end}
        assert rows[state.name] == {target.name for target in expected}, state


@pytest.mark.parametrize(("before", "after"), list(product(LeaseState, LeaseState)))
def test_a_lease_refuses_other_transitions(before: LeaseState, after: LeaseState) -> None:
    """A transition that is not in the table raises AssertionError at once."""
    lease = Lease("model")
    lease.state = before
    if after is before or after in leases.TRANSITIONS[before]:
        lease.enter(after)
        assert lease.state is after
    else:
        with pytest.raises(AssertionError, match=before.name):
            lease.enter(after)


METHODS = {
    "enqueue": lambda model: model.enqueue(),
    "begin_loading": lambda model: model.begin_loading(),
    "request_unload": lambda model: model.request_unload(),
    "cancel_unload": lambda model: model.cancel_unload(),
    "finish_loading": lambda model: model.finish_loading(object()),
    "fail": lambda model: model.fail(RuntimeError()),
    "clear": lambda model: model.clear(),
}


@pytest.mark.parametrize(("state", "method"), list(product(ModelState, METHODS)))
def test_a_slot_follows_its_table(state: ModelState, method: str) -> None:
    """In each state, each method enters an allowed state, changes nothing, or raises AssertionError."""
    model = Slot("model", None, state=state)
    try:
        METHODS[method](model)
    except AssertionError:
        assert model.state is state
    else:
        assert model.state is state or model.state in slot.TRANSITIONS[state]


def test_changes_of_a_slot_are_counted() -> None:
    """A new state changes the count, which is how leases notice it; so does progress."""
    for state, method in product(ModelState, METHODS):
        model = Slot("model", None, state=state)
        with suppress(AssertionError):
            METHODS[method](model)
        assert (model.changes.count > 0) is (model.state is not state)
        before = model.changes.count
        model.progress(0.5)
        assert (model.changes.count, model.fraction) == (before + 1, 0.5)


def test_every_transition_of_a_slot_has_a_cause() -> None:
    """Some method makes each transition of the table."""
    made = set()
    for state, method in product(ModelState, METHODS):
        model = Slot("model", None, state=state)
        try:
            METHODS[method](model)
        except AssertionError:
            continue
        made.add((state, model.state))
    allowed = {(state, target) for state, targets in slot.TRANSITIONS.items() for target in targets}
    assert allowed <= made
