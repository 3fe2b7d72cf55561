"""Who waits for memory, who makes room, and what is kept for whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.models.loader import Loader, until
from tintype.service.errors import OutOfMemory
from tintype.service.models import ModelState, Repository
from tintype.service.models.folder.manifest import read
from tintype.service.models.residency import load_grace
from tintype.service.models.residency.slot import Slot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("loader")
def test_a_budget_drops_what_was_used_longest_ago(folders: list[Path]) -> None:
    """With room for two, the third pushes out the one that nobody asked for lately."""
    size = Slot("", read(folders[0])).weight
    with Repository(folders, memory=2 * size) as repository:
        for name in ("a", "b"):
            repository.wait(name, timeout=10)
        repository.get("a")
        repository.wait("c", timeout=10)
        states = {name: repository.status(name).state for name in "abc"}
        assert states == {"a": ModelState.RESIDENT, "b": ModelState.UNLOADED, "c": ModelState.RESIDENT}


@pytest.mark.usefixtures("loader")
def test_a_held_model_stays_and_others_wait_for_it(folders: list[Path]) -> None:
    """Nothing that is in use is dropped: whoever needs its memory waits until it is released."""
    size = Slot("", read(folders[0])).weight
    with Repository(folders, memory=size) as repository:
        model = repository.wait("a", timeout=10)
        repository.hold("a")
        repository.hold("a")
        repository.load("b")
        repository.release("a")
        assert repository.get("a") is model
        assert (repository.status("b").state, repository.status("b").fraction) == (ModelState.WAITING, 0.0)
        repository.release("a")
        assert repository.wait("b", timeout=10)
        assert repository.status("a").state is ModelState.UNLOADED


@pytest.mark.usefixtures("loader")
def test_larger_than_the_budget_is_said_at_once(folders: list[Path]) -> None:
    """A model that can never fit is refused, not queued."""
    with Repository(folders, memory=1000) as repository:
        with pytest.raises(
            OutOfMemory, match=r"needs \d{8} bytes for its largest component, and all models may have 1000"
        ):
            repository.load("a")
        assert repository.status("a").state is ModelState.UNLOADED


@pytest.mark.usefixtures("loader")
def test_unloading_takes_a_model_out_of_line(folders: list[Path]) -> None:
    """What waits for memory can be called off."""
    size = Slot("", read(folders[0])).weight
    with Repository(folders, memory=size) as repository:
        repository.wait("a", timeout=10)
        repository.hold("a")
        repository.load("b")
        repository.unload("b")
        assert repository.status("b").state is ModelState.UNLOADED
        repository.release("a")
        assert repository.status("a").state is ModelState.RESIDENT


@pytest.mark.usefixtures("loader")
def test_who_waits_for_memory_says_so(folders: list[Path]) -> None:
    """A model in line behind one that is held is `waiting`, and no longer once it may load."""
    size = Slot("", read(folders[0])).weight
    with Repository(folders, memory=size) as repository:
        repository.wait("a", timeout=60)
        repository.hold("a")
        repository.load("b")
        assert repository.status("b").state is ModelState.WAITING
        assert repository.status("a").state is ModelState.RESIDENT
        repository.release("a")
        repository.wait("b", timeout=60)
        assert repository.status("b").state is ModelState.RESIDENT


@pytest.mark.parametrize("seconds", [60.0, 0.01])
def test_what_was_loaded_for_somebody_waits_for_them(
    folders: list[Path], loader: Loader, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Who is next in line takes the place of a model that was used; or for which nobody came for a time."""
    monkeypatch.setattr(load_grace, "FIRST_USE", seconds)
    loader.gate.clear()
    with Repository(folders, memory=Slot("", read(folders[0])).weight) as repository:
        repository.load("a")
        repository.load("b")
        loader.gate.set()
        if seconds > 1:
            assert repository.wait("a", timeout=10)
            assert repository.status("b").state is ModelState.WAITING
            repository.hold("a")
            repository.release("a")
        assert repository.wait("b", timeout=10)
        assert repository.status("a").state is ModelState.UNLOADED


def test_nothing_is_kept_for_who_has_left(folders: list[Path], loader: Loader) -> None:
    """What was loaded for requests that left, or are less urgent, makes room at once; what they had in line is out."""
    size = Slot("", read(folders[0])).weight
    loader.gate.clear()
    with Repository(folders, memory=size) as repository:
        repository.load("a", pinned=False)
        repository.load("b", pinned=False)
        repository.load("c", pinned=False)
        loader.gate.set()
        until(lambda: repository.status("a").state is ModelState.RESIDENT)
        repository.set_demand({"a", "c"}, {"a"})
        assert repository.status("a").state is ModelState.RESIDENT
        assert repository.status("b").state is ModelState.UNLOADED
        repository.set_demand({"a", "c"}, {"c"})
        assert repository.wait("c", timeout=10)
        assert loader.names == ["a", "c"]


def test_what_somebody_asked_for_by_name_is_loaded_without_a_request(folders: list[Path], loader: Loader) -> None:
    """Requests that leave take nothing out of line that was put there for itself; it is not kept from others."""
    loader.gate.clear()
    with Repository(folders, memory=Slot("", read(folders[0])).weight) as repository:
        repository.load("a")
        repository.load("b", pinned=False)
        repository.load("b")
        repository.set_demand((), ())
        loader.gate.set()
        until(lambda: repository.status("a").state is ModelState.RESIDENT)
        repository.set_demand((), ())
        until(lambda: repository.status("b").state is ModelState.RESIDENT)


@pytest.mark.usefixtures("loader")
def test_what_somebody_waits_for_stays_in_line(folders: list[Path]) -> None:
    """Requests that leave take nothing from who waits for it without one."""
    with Repository(folders, memory=Slot("", read(folders[0])).weight) as repository, ThreadPoolExecutor(1) as pool:
        repository.wait("a", timeout=10)
        repository.hold("a")
        waiting = pool.submit(repository.wait, "b", timeout=10)
        until(lambda: repository.status("b").state is ModelState.WAITING)
        repository.set_demand(("a",), ("a",))
        repository.release("a")
        assert waiting.result().spec.name == "b"
