"""The engine on a real repository with too little memory: random arrivals, cancellations, loads, failures and unloads.

The test runs loads, timers and the freeing of weights itself, in one thread, so that a failure can be reproduced.
The last test uses real threads.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.engine.exact import Clock, ExactModel
from tintype.service.engine import Engine, Limits
from tintype.service.engine.events import Completed, Failed
from tintype.service.errors import Cancelled, DeadlineExceeded, OutOfMemory, QueueFull
from tintype.service.job import Job
from tintype.service.models import ModelState, Repository
from tintype.service.models.residency import leases, load_grace, loading
from tintype.service.models.residency.catalogue import BUILTIN, Catalogue
from tintype.service.models.residency.leases import LeaseState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tintype.service.engine import Ticket
    from tintype.service.engine.events import Event
    from tintype.service.models.residency.slot import Slot

NAMES = ("a", "b", "c")
PATIENCE = 60  # seconds until the test with threads gives up
ROUNDS = 3000  # more than the remaining tasks of any schedule need


@pytest.fixture(scope="module", autouse=True)
def folders() -> Iterator[list[Path]]:
    """Make folders of three models of one size."""
    with tempfile.TemporaryDirectory() as root:
        FOLDERS[:] = [_copy(Path(root), name) for name in NAMES]
        yield FOLDERS


FOLDERS: list[Path] = []


def _copy(root: Path, name: str) -> Path:
    def link(source: str, target: str) -> None:
        Path(target).symlink_to(source)

    shutil.copytree(BUILTIN, root / name, copy_function=link)
    content = (BUILTIN / "tintype.json").read_text("utf-8").replace("tintype-demo", name)
    (root / name / "tintype.json").unlink()
    (root / name / "tintype.json").write_text(content, "utf-8")
    return root / name


class CheckedRepository(Repository):
    """A repository that records models that were evicted while a task held them.

    `before_hold` is called once before the next hold, like a call of another thread between lookup and hold.
    """

    def __init__(self, folders: list[Path], memory: int) -> None:
        super().__init__(folders, memory=memory)
        self.evicted_while_held: list[str] = []
        self.before_hold: Callable[[], object] | None = None

    def hold(self, name: str = "") -> None:
        action, self.before_hold = self.before_hold, None
        if action:
            action()
        super().hold(name)

    def _evict(self, slot: Slot) -> None:
        self._check(slot)
        super()._evict(slot)

    def _unload(self, slot: Slot) -> None:
        self._check(slot)
        super()._unload(slot)

    def _check(self, slot: Slot) -> None:
        if slot.holds and slot.state.is_resident and not self._closed:
            self.evicted_while_held.append(slot.name)


class ManualExecutor:
    """An executor whose calls the test runs."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def submit(self, call: Callable[..., object], *arguments: object) -> None:
        self.calls.append(lambda: call(*arguments))

    def shutdown(self, **_: bool) -> None:
        self.calls.clear()


class ImmediateExecutor(ManualExecutor):
    """An executor whose calls run at once, in the caller's thread."""

    def submit(self, call: Callable[..., object], *arguments: object) -> Any:
        done: Future[object] = Future()
        done.set_result(call(*arguments))
        return done


class Timer:
    """A timer of the test's clock."""

    clock = Clock()
    pending: list[Timer] = []  # noqa: RUF012 - of one test at a time

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.due, self.call = self.clock.now + seconds, call

    def start(self) -> None:
        self.pending.append(self)

    def cancel(self) -> None:
        if self in self.pending:
            self.pending.remove(self)


JOB = st.fixed_dictionaries(
    {
        "model": st.sampled_from(NAMES),
        "steps": st.integers(1, 4),
        "count": st.integers(1, 2),
        "priority": st.integers(-1, 1),
        "caller": st.sampled_from("xy"),
    }
)


class Residency(RuleBasedStateMachine):
    """An engine with three models, memory for one or two of them, and the events that affect it."""

    @initialize(models=st.integers(0, 2), patience=st.sampled_from([0.5, 5.0, 60.0]))
    def begin(self, models: int, patience: float) -> None:
        self.clock = Timer.clock = Clock()
        self.failures: list[Exception] = []
        self.action: Callable[[], object] | None = None
        Timer.pending.clear()
        self.patches: list[Any] = [
            patch.object(loading, "load", self._load),
            patch.object(threading, "Timer", Timer),
        ]
        for each in self.patches:
            each.start()
        model = next(iter(Catalogue(FOLDERS)))
        self.budget = models * model.weight or model.largest
        self.repository = CheckedRepository(FOLDERS, memory=self.budget)
        self.repository._loader.shutdown()
        self.repository._loader = self.loader = ManualExecutor()  # type: ignore[assignment]
        self.repository._freer._thread = ImmediateExecutor()  # type: ignore[assignment]
        self.engine = Engine(self.repository, limits=Limits(patience=patience, queue=8), clock=self.clock)
        self.events: dict[Ticket, list[Event]] = {}

    def _load(self, manifest: Any, _runtime: Any, progress: Callable[[float], None]) -> ExactModel:
        progress(0.5)
        if self.failures:
            raise self.failures.pop()
        progress(1.0)
        return ExactModel(manifest.spec, self.clock, on_call=self._called)

    @rule(jobs=st.lists(JOB, min_size=1, max_size=4), seconds=st.none() | st.floats(0.1, 60))
    def admit(self, jobs: list[dict[str, Any]], seconds: float | None) -> None:
        deadline = None if seconds is None else self.clock.now + seconds
        for job in jobs:
            with suppress(QueueFull, DeadlineExceeded):
                self.events[self.engine.admit(Job(prompt="a lake", deadline=deadline, seed=1, **job))] = []

    @rule(units=st.integers(1, 4))
    def step(self, units: int) -> None:
        for _ in range(units):
            self._step()

    @rule(rounds=st.integers(1, 20))
    def work(self, rounds: int) -> None:
        """Step, and load a model whenever the engine is idle."""
        for _ in range(rounds):
            if not self._step():
                self.time_passes(0.5)
                self.finish_loading(None)

    def _step(self) -> bool:
        worked = self.engine.step()
        self._collect()
        self.no_model_is_evicted_while_held()
        return worked

    @rule(place=st.integers(0, 12))
    def cancel(self, place: int) -> None:
        if place < len(self.events):
            self.engine.cancel(list(self.events)[place])
            self._collect()

    @rule(name=st.sampled_from(NAMES))
    def unload_during_a_call(self, name: str) -> None:
        self._once(lambda: self.repository.unload(name))

    @rule(name=st.sampled_from(NAMES))
    def unload_before_a_hold(self, name: str) -> None:
        self.repository.before_hold = lambda: self.repository.unload(name)

    @rule()
    def cancel_all_during_a_call(self) -> None:
        def cancel() -> None:
            for ticket in self.events:
                self.engine.cancel(ticket)

        self._once(cancel)

    @rule()
    def run_out_of_memory_during_a_call(self) -> None:
        def fail() -> None:
            raise MemoryError

        self._once(fail)

    def _once(self, action: Callable[[], object]) -> None:
        """Run `action` during the next call of a model."""
        self.action = action

    def _called(self, _name: str, _rows: int) -> None:
        action, self.action = self.action, None
        if action:
            action()

    @rule(failure=st.sampled_from([None, None, OutOfMemory, RuntimeError]))
    def finish_loading(self, failure: type[Exception] | None) -> None:
        if self.loader.calls:
            self.failures = [failure("it does not load")] if failure else []
            self.loader.calls.pop(0)()
            self.failures = []

    @rule(name=st.sampled_from(NAMES))
    def load_model(self, name: str) -> None:
        self.repository.load(name)

    @rule(name=st.sampled_from(NAMES))
    def unload_model(self, name: str) -> None:
        self.repository.unload(name)

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        for timer in [timer for timer in Timer.pending if timer.due <= self.clock.now]:
            timer.cancel()
            timer.call()

    @invariant()
    def no_hold_is_lost(self) -> None:
        """The holds of a slot are those of its leases."""
        if hasattr(self, "engine"):
            slot = self.repository._catalogue.slot
            held = [slot(lease.name).name for lease in self._leases() if lease.state.holds]
            assert {each.name: each.holds for each in self.repository._catalogue} == {
                name: held.count(name) for name in NAMES
            }

    @invariant()
    def no_model_is_evicted_while_held(self) -> None:
        if hasattr(self, "engine"):
            assert self.repository.evicted_while_held == []

    @invariant()
    def the_budget_holds(self) -> None:
        if hasattr(self, "engine"):
            counted = [each for each in self.repository._catalogue if each.state.uses_memory]
            assert sum(min(each.weight, self.budget) for each in counted) <= self.budget

    @invariant()
    def states_are_consistent(self) -> None:
        if hasattr(self, "engine"):
            for each in self.repository._catalogue:
                assert (each.model is not None) is each.state.is_resident
                assert (each in self.repository._queue._waiting) is (each.state is ModelState.WAITING)
                assert each not in self.repository._grace or each.state.is_resident
                assert each.state is not ModelState.UNLOADING or each.holds
            for lease in self._leases():
                if lease.state in {LeaseState.READY, LeaseState.FIRST_USE, LeaseState.RUNNING}:
                    assert lease.model is not None

    @invariant()
    def nothing_follows_the_last_event(self) -> None:
        if hasattr(self, "engine"):
            for events in self.events.values():
                assert not any(isinstance(event, Completed | Failed) for event in events[:-1])

    def teardown(self) -> None:
        """Run until all tasks have ended: each has exactly one last event, and no hold is left."""
        if not hasattr(self, "engine"):
            return
        self.action = self.repository.before_hold = None
        for _ in range(ROUNDS):
            if not self.engine.busy:
                break
            self.work(1)
        self._step()  # releases the holds of the last tasks
        assert not self.engine.busy
        assert not self._leases()
        self.no_hold_is_lost()
        for events in self.events.values():
            assert sum(isinstance(event, Completed | Failed) for event in events) == 1
        self.repository.close()
        for each in self.patches:
            each.stop()

    def _leases(self) -> list[leases.Lease]:
        opened = self.engine._live_tasks._leases
        return [*opened._live, *opened._ended]

    def _collect(self) -> None:
        for ticket, event in self.engine.collect():
            self.events[ticket].append(event)


Residency.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestResidency = Residency.TestCase


@pytest.mark.parametrize("seed", range(3))
def test_threads_share_a_small_budget(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four threads admit, cancel, load and unload while models load in the background; the same invariants hold."""

    def load(manifest: Any, *_: object) -> ExactModel:
        time.sleep(0.002)
        return ExactModel(manifest.spec)

    def call(rng: random.Random) -> None:
        for _ in range(40):
            name = rng.choice(NAMES)
            action = rng.random()
            if action < 0.7:
                tickets.append(engine.admit(Job(prompt="a lake", model=name, steps=rng.randint(1, 3), seed=1)))
            elif action < 0.8:
                repository.load(name)
            else:
                repository.unload(name)
            if tickets and rng.random() < 0.3:
                engine.cancel(rng.choice(tickets))

    monkeypatch.setattr(loading, "load", load)
    monkeypatch.setattr(load_grace, "FIRST_USE_SECONDS", 0.05)
    model, tickets, events = next(iter(Catalogue(FOLDERS))), list[Any](), list[Any]()
    with (repository := CheckedRepository(FOLDERS, memory=model.weight)):
        engine = Engine(repository, limits=Limits(patience=0.02, queue=1000))
        generators = [random.Random(4 * seed + n) for n in range(4)]  # noqa: S311 - no secret
        threads = [threading.Thread(target=call, args=(rng,)) for rng in generators]
        for thread in threads:
            thread.start()
        end = time.monotonic() + PATIENCE
        while engine.busy or any(thread.is_alive() for thread in threads):
            assert time.monotonic() < end
            if not engine.step():
                time.sleep(0.001)
            events += engine.collect()
        engine.step()  # releases the holds of the last tasks
        assert repository.evicted_while_held == []
        assert [slot.holds for slot in repository._catalogue] == [0, 0, 0]
    last = [ticket for ticket, event in events if isinstance(event, Completed | Failed)]
    assert sorted(last, key=id) == sorted(tickets, key=id)
    errors = [event.error for _, event in events if isinstance(event, Failed)]
    assert all(isinstance(error, Cancelled) for error in errors)
